"""Renders a chat template in a process of its own, which ``chat_template`` starts and the system stops.

A template is a program that came with a file: it can loop without end or fill the memory, in places where no Python
code could interrupt it. Reads one JSON object from standard input and writes a list of results.
"""

import json
import resource
import sys


def main() -> None:
    """Render the asked template around each of the asked contents; ``{"text": …}`` or ``{"error": …}`` for each."""
    # What ``apply_chat_template`` of tokenizers and of processors calls; imports no torch.
    from transformers.utils.chat_template_utils import render_jinja_template

    asked = json.load(sys.stdin)
    _limit(asked["seconds"], asked["bytes"])
    found = []
    for content in asked["contents"]:
        try:
            (text,), _ = render_jinja_template(
                conversations=[[{"role": "user", "content": content}]],
                chat_template=asked["template"],
                add_generation_prompt=True,
                **asked["special_tokens"],
            )
            if len(text.encode()) > asked["size"]:
                raise ValueError(f"it renders {len(text):,} characters")
            found.append({"text": text})
        except Exception as error:
            said = f"{error}" or type(error).__name__
            found.append({"error": " ".join(said[:1000].split())[:200]})
    json.dump(found, sys.stdout)


def _limit(seconds: int, size: int) -> None:
    """Stop this process after more seconds of a processor, and refuse it more memory than so many bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stop = int(used.ru_utime + used.ru_stime) + 1 + seconds
    for limit, wanted in ((resource.RLIMIT_CPU, stop), (resource.RLIMIT_DATA, size)):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


if __name__ == "__main__":
    main()
