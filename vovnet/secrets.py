"""Keys and passwords in text: refused in what is given, redacted in what is printed and recorded.

detect-secrets knows the forms of keys that services issue. It knows few of the services used here, takes commit ids
for keys, and does not read lines of a shell: prefixes, names and command lines are ours. Importing it takes 0.1 s, so
only text that may hold such a key is handed to it.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from vovnet.errors import VoVNetError

DETECTORS = (  # of detect-secrets: those that recognise a key by its own form
    "AWSKeyDetector AzureStorageKeyDetector DiscordBotTokenDetector GitHubTokenDetector GitLabTokenDetector "
    "JwtTokenDetector MailchimpDetector NpmDetector OpenAIDetector PrivateKeyDetector PypiTokenDetector "
    "SendGridDetector SlackDetector SquareOAuthDetector StripeDetector TelegramBotTokenDetector TwilioKeyDetector"
).split()
MAY_BE_ISSUED = re.compile(
    r"PRIVATE KEY|eyJ|SG\.|xox|gl[\w-]{3,6}-|GR1348941|[rs]k_live|_authToken|sq0csp|-us\d|\d{8}:"
)
PREFIXED = re.compile(  # of services that detect-secrets 1.5 does not know, or knows in another form
    r"(?<![A-Za-z0-9])((?:hf_|github_pat_|sk-|AIza|gsk_|r8_|nvapi-|npm_|pplx-|xai-|tgp_v1_|dop_v1_|dckr_pat_|lsv2_pt_)"
    r"[\w-]{20,}|gh[pousr]_\w{20,}|xox[abeoprs]-[\w-]{10,}|A(?:KIA|SIA)[A-Z0-9]{16}|(?i:bearer|basic)\s+[\w.~+/-]{16,})"
)
RUN = re.compile(r"[A-Za-z0-9]{16,}")
LONG = 20  # characters from which a run may be a key by its looks alone
HEXADECIMAL = re.compile(r"[0-9a-f]+|[0-9A-F]+")
CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[a-z0-9])|(?<=[0-9])(?=[A-Za-z])")
RANDOM = 0.4  # changes of kind a character: 0.6 on average in random letters and digits, 0.25 in names of models

URL = re.compile(r"[a-z][\w+.-]*://(?:[^\s/?#'\"]*:([^\s/?#'\"]+)|([\w~.%+-]{16,}))@")
LOOKED_UP = re.compile(r"oc\.env:\s*(\w+)")
VALUE = r"['\"]?(\$[({][^'\"]*|[^\s'\"&;,|()<>\[\]{}]+)"
ASSIGNED = re.compile(rf"([\w.+-]*\w)['\"]?\s*(?::=|[=:])\s*(?={VALUE})")  # the value may be another assignment
WITH_EQUALS = re.compile(rf"([\w.+-]*\w)=(?={VALUE})")  # in prose a colon follows any word
COMMANDS = (  # of a shell: a name and its value
    re.compile(rf"\b(?:set(?:env)?|config)\b(?:\s+-\S+|\s+set)*\s+([\w.-]*\w)\s+{VALUE}"),
    re.compile(rf"(?<!\S)--?(\w[\w-]*\w)\s+{VALUE}"),
)
LOGINS = (  # values that need no name
    re.compile(rf"\b(?:login|sshpass|mysql\w*)\b[^;|&]*?\s-p\s*{VALUE}"),
    re.compile(r"\b(?:curl|wget|login)\b[^;|&]*?\s(?:-u|--user)[\s=]*['\"]?[^\s:'\"]+:([^\s'\"]+)"),
    re.compile(r"\blogin(?:\s+-\S+)*\s+['\"]?([A-Za-z0-9_-]{16,})(?![\w.])"),
    re.compile(r"\becho\s+['\"]?([^\s'\"]{8,})['\"]?\s*\|[^|]*\blogin\b"),
    re.compile(r"\blogin\s+\S+\s+password\s+(\S+)"),
)
# Ends of names, in snake case. A weak one is that of other things, too, unless the name is in capitals.
STRONG = re.compile(
    r"(?:^|_)(?:token|authorization|(?:auth|wandb|secret|service|account|client|db|database|encryption)_?key|"
    r"github_pat|signature)$|(?:api_?key|access_?key|private_?key|secret|passw(?:or)?d|passphrase|credentials?)$"
)
WEAK = re.compile(r"_(?:key|pwd|pass|pw|pat|sig|dsn)$|^(?:sig|pwd|pass|pgpass)$")
HARMLESS = re.compile(
    r"VALUE|NAME|OPTION|KEY|(?i:true|false|null|none|\d{1,3}|[~./\\]|[~.]?/.*|\$\w+|\$[({].*|`.*|\?+|\*+)"
)
KEY, HIDDEN = "a key", "***"
SHORTEST = 8  # characters; a shorter value of an environment variable may stand anywhere by chance


class Found(NamedTuple):
    """A secret: what to call it, its value, and where in the text that is; -1 where only the value is known."""

    name: str
    value: str
    begin: int = -1


def refuse_secrets(texts: Iterable[str]) -> None:
    """Check overrides, or a configuration's texts as ``key=value``.

    Raises:
        VoVNetError: one names or holds a secret; the sentence does not repeat it.
    """
    held = list(_held())
    for text in texts:
        found = next(iter(_given(text)), None) or next((one for one in held if one.value in text), None)
        name = found and found.name
        if name is not None:
            raise VoVNetError(
                f"the configuration holds a secret ({name}), which would be written into every run's files; leave it "
                "out and set it in the environment (export NAME=VALUE), where jobs find it."
            )


def redacted(text: str, settings: bool = False) -> str:
    """A text for people or a record with three stars for every secret in it.

    Args:
        settings: it is a configuration, in which a value may also follow a colon or a name in a shell's line.
    """
    cut = "".join(_cut(line, settings) for line in text.splitlines(keepends=True))
    for one in sorted(_held(), key=lambda one: len(one.value), reverse=True):
        cut = cut.replace(one.value, HIDDEN)
    return cut


def _cut(line: str, settings: bool) -> str:
    hidden = bytearray(len(line))  # which characters are
    for one in _given(line) if settings else (*_issued(line), *_named(WITH_EQUALS, line)):
        size = len(one.value)
        begins = [one.begin] if one.begin >= 0 else [m.start() for m in re.finditer(re.escape(one.value), line) if size]
        for begin in begins:
            hidden[begin : begin + size] = b"\1" * size
    pieces = itertools.groupby(range(len(line)), key=hidden.__getitem__)
    return "".join(HIDDEN if cut else "".join(map(line.__getitem__, places)) for cut, places in pieces)


@lru_cache(maxsize=4096)  # jobs of a sweep share most of their texts
def _given(text: str) -> tuple[Found, ...]:
    looked_up = (Found(name, "") for name in LOOKED_UP.findall(text) if _is_secret(name, "?"))
    shell = (found for form in (ASSIGNED, *COMMANDS) for found in _named(form, text))
    matches = (match for form in LOGINS for match in form.finditer(text) if not _harmless(match[1]))
    logins = (Found("a password", match[1], match.start(1)) for match in matches)
    return (*looked_up, *shell, *logins, *_issued(text))


def _named(form: re.Pattern[str], text: str) -> Iterator[Found]:
    for match in form.finditer(text):
        if not _harmless(match[2]) and _is_secret(match[1], match[2]):
            yield Found(match[1], match[2], match.start(2))


def _harmless(value: str) -> bool:
    """A switch, a small number, a path, or what a shell looks up elsewhere."""
    return HARMLESS.fullmatch(value) is not None


def _is_secret(name: str, value: str) -> bool:
    """Whether a name says that its value is secret, or may say so and the value is no plain word."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[.+-]+", "_", name).lower().strip("_")
    if STRONG.search(snake):
        return not (value.isdigit() and snake.endswith("token"))  # max_token=4096
    last = re.split(r"[.+]", name)[-1]
    return WEAK.search(snake) is not None and (last.isupper() or (len(value) >= SHORTEST and not value.isalpha()))


def _held() -> Iterator[Found]:
    """Values of this process's environment that are secret by their variables' names."""
    for name, value in os.environ.items():
        plain = value.isalpha() and not STRONG.search(name.lower())
        if len(value) >= SHORTEST and not plain and not _harmless(value) and _is_secret(name, value):
            yield Found(name, value)


@lru_cache(maxsize=4096)
def _issued(text: str) -> tuple[Found, ...]:
    """Keys that are recognised by themselves, under any name."""
    found = [Found(KEY, match[1], match.start(1)) for match in PREFIXED.finditer(text)]
    for match in URL.finditer(text):
        group = 1 if match[1] else 2
        if not _harmless(match[group]):
            found.append(Found(KEY, match[group], match.start(group)))
    runs = [run for run in RUN.findall(text) if not HEXADECIMAL.fullmatch(run) and not run.isalpha()]
    found += [Found(KEY, run) for run in runs if len(run) >= LONG and _random(run)]
    if runs or MAY_BE_ISSUED.search(text):
        found += [Found(KEY, value) for value in _detected(text)]
    return tuple(found)


def _random(run: str) -> bool:
    """Letters of both cases and digits in no order."""
    mixed = re.search("[a-z]", run) and re.search("[A-Z]", run)
    return bool(mixed) and len(CHANGE.findall(run)) >= RANDOM * len(run)


def _detected(text: str) -> list[str]:
    """Keys that detect-secrets finds; it asks no service about them, since no filter of its verification is set."""
    from detect_secrets.core.scan import scan_line  # slow to import
    from detect_secrets.settings import transient_settings

    with transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]}):
        return [one.secret_value for line in text.splitlines() for one in scan_line(line) if one.secret_value]
