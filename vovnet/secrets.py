"""Keys and passwords stay out of configurations: what a configuration holds is written into every run's files."""

import os
import re
from collections.abc import Iterable

from vovnet.errors import VoVNetError

WORD = (
    r"(?:api_?key|access_?key|auth_?key|private_?key|wandb_?key|token|github_pat|secret|passw(?:or)?d|passphrase|"
    r"credentials?)"
)
# WANDB_API_KEY=…, hub.token=…; not max_new_tokens=3 or image_token_id=5.
NAMED = re.compile(rf"(?i)(?<![a-z0-9])([a-z0-9_.+]*(?<![a-z]){WORD})['\"]?\s*[=:]\s*['\"]?[^\s'\"]")
LOOKED_UP = re.compile(rf"(?i)oc\.env:\s*([a-z0-9_]*(?<![a-z]){WORD})(?![a-z])")
ISSUED = re.compile(
    r"(?<![A-Za-z0-9])(hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|"
    r"sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[\w-]{10,}|A(?:KIA|SIA)[A-Z0-9]{16})|(?i:bearer\s+[\w.~+/-]{16,})|://[^/\s:@]+:[^/\s@]+@"
)
SECRET_NAME = re.compile(rf"(?i)(?:^|_){WORD}$")
SHORTEST = 8  # characters; a shorter value of an environment variable may stand anywhere by chance


def refuse_secrets(texts: Iterable[str]) -> None:
    """Check overrides, or a configuration's texts as ``key=value``.

    Raises:
        VoVNetError: one names or holds a secret; the sentence does not repeat it.
    """
    held = {n: v for n, v in os.environ.items() if SECRET_NAME.search(n) and len(v) >= SHORTEST}
    for text in texts:
        found = NAMED.search(text) or LOOKED_UP.search(text)
        name = found[1] if found else "a key" if ISSUED.search(text) else None
        name = name or next((name for name, value in held.items() if value in text), None)
        if name is not None:
            raise VoVNetError(
                f"the configuration holds a secret ({name}), which would be written into every run's files; leave it "
                "out and set it in the environment (export NAME=VALUE), where jobs find it."
            )
