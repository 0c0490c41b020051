"""The text around a question: what a checkpoint's chat template renders.

Templates are code that came with a file. They are rendered once, around a stand-in, within limits of time and memory.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.files import read_object

# Between private-use characters, which no template contains; a filter that escapes, cuts or changes text changes it.
STAND_IN = "\ue000 \"a'B\\\n\ue000"
PLAIN_TAIL = "\nAnswer:"  # answer cue of bare text
PROCESSOR_FILES = ("processor_config.json", "chat_template.json")  # in the order in which AutoProcessor takes them
SCRIPT = Path(__file__).with_name("render.py")
SECONDS, MEMORY, SIZE = 5, 2**32, 200_000  # of a processor; bytes; bytes of a template and of what it renders
START = 300  # seconds until the process must have ended, most of them for the import of transformers
# What gives another text another time: the date, and jinja's filter and function of chance.
CHANGING = re.compile(r"strftime_now|\|\s*random\b|\blipsum\b")


@dataclass(frozen=True)
class Frame:
    """The text before a question and after it.

    Attributes:
        changing: whether another process may render another text.
        remarks: sentences for the user.
    """

    head: str
    tail: str
    changing: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What a checkpoint's tokenizer, chat template and image processor do.

    Attributes:
        head, tail: the text around a question.
        frame: digest of both and of their token ids.
        tokens: digest of the token ids of a fixed text, and of the text that they are decoded to.
        cut: digest of a fixed picture's patches.
        resample: the filter by which Pillow resizes; None for its default.
        remarks: sentences for the user, said when the files are read.
        shown: what the template renders of one image, of two and so on, by prompt order; ``{"error": …}`` where it
            cannot; ``among`` of two images between texts. Empty for bare text, and for fast paths, which place images
            themselves.
    """

    head: str
    tail: str
    frame: str
    tokens: str
    cut: str
    resample: int | None
    remarks: tuple[str, ...] = ()
    shown: dict[str, list[dict[str, str]]] = field(default_factory=dict)


BARE = Frame("", PLAIN_TAIL)


def chat_frame(folder: Path, tokenizer: Any) -> Frame:
    """The frame of the template that AutoProcessor would take, or else of the tokenizer's.

    Raises:
        VoVNetError: there is none, or it cannot be rendered, leaves the user's text out or repeats it.
    """
    place, template = find_template(folder, tokenizer)
    frame = _render(folder, template, tokenizer.special_tokens_map)
    remarks = []
    if _differs(folder, template, tokenizer, frame):
        remarks.append(
            f"{folder} has two chat templates that render different prompts; that of {place} is used, as transformers' "
            "AutoProcessor does, and not the tokenizer's"
        )
    if frame.changing:
        remarks.append(
            f"the chat template of {folder} may print the date or a random text; outcomes are stored by what it "
            "renders, and computed anew when that changes"
        )
    return Frame(frame.head, frame.tail, frame.changing, tuple(remarks))


def find_template(folder: Path, tokenizer: Any) -> tuple[str, str]:
    """Where a checkpoint keeps the template that its processor uses, and the template.

    The processor's files are read here and not by AutoProcessor, which needs torchvision and follows other entries of
    them. What it would find besides, chat_template.jinja and additional_chat_templates, the tokenizer has read.

    Raises:
        VoVNetError: there is none, or a file that should hold it is damaged.
    """
    for name in PROCESSOR_FILES:
        template = _default(folder, _read(folder, name).get("chat_template"))
        if template is not None:
            return name, template
    template = _default(folder, tokenizer.chat_template)
    if template is None:
        raise VoVNetError(
            f"{folder} has no chat template (chat_template.jinja or .json, or an entry of tokenizer_config.json or "
            "processor_config.json); copy that of the model that it was trained from, or set "
            "backbone.chat_template=none if bare text is meant."
        )
    return "the tokenizer", template


def has_template(folder: Path, tokenizer: Any) -> bool:
    """Whether a checkpoint has any chat template."""
    return bool(tokenizer.chat_template) or any(_read(folder, name).get("chat_template") for name in PROCESSOR_FILES)


def _read(folder: Path, name: str) -> dict[str, Any]:
    """A file's content; nothing where there is none."""
    try:
        return read_object(folder / name)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise VoVNetError(f"{folder / name} cannot be read ({error}); save the processor again.") from error


def _default(folder: Path, found: Any) -> str | None:
    """One template of what transformers keeps: a text, or several by name of which ``default`` is taken.

    Raises:
        VoVNetError: several without a default, or none of these forms.
    """
    if isinstance(found, list) and all(isinstance(one, Mapping) for one in found):
        found = {one.get("name"): one.get("template") for one in found}
    if isinstance(found, Mapping) and found:
        if "default" not in found:
            names = ", ".join(map(str, found))
            raise VoVNetError(f"the chat templates of {folder} ({names}) have no default; name one of them so.")
        found = found["default"]
    if found and not isinstance(found, str):
        raise VoVNetError(f"the chat template of {folder} is no text; save the tokenizer with the model's own.")
    return found or None


def _differs(folder: Path, template: str, tokenizer: Any, frame: Frame) -> bool:
    """Whether the tokenizer has a template too, and it renders something else."""
    own = tokenizer.chat_template
    if isinstance(own, Mapping):
        own = own.get("default")
    if not own or own == template:
        return False
    try:
        other = _render(folder, own, tokenizer.special_tokens_map)
    except VoVNetError:  # what is wrong with it harms nobody
        return True
    return (other.head, other.tail) != (frame.head, frame.tail)


def _render(folder: Path, template: str, special_tokens: Mapping[str, Any]) -> Frame:
    """Render with a list of parts as content, and with plain text where the template takes no list.

    Raises:
        VoVNetError: neither shows the user's text once.
    """
    parts = [{"type": "text", "text": STAND_IN}]
    problems = []
    for result in render_contents(folder, template, special_tokens, [parts, STAND_IN]):
        pieces = result.get("text", "").split(STAND_IN)
        if "error" in result:
            problems.append(f"cannot be rendered ({result['error']}); save the tokenizer with the model's own")
        elif len(pieces) != 2:
            times = len(pieces) - 1
            how = f"shows the user's text {times} times" if times else "leaves out or changes the user's text"
            problems.append(f"{how}; use a template that shows it once as it is")
        else:
            head, tail = pieces
            return Frame(head, tail, changing=CHANGING.search(template) is not None)
    raise VoVNetError(f"the chat template of {folder} {problems[0]}.")


def render_contents(
    folder: Path, template: str, special_tokens: Mapping[str, Any], contents: list[Any]
) -> list[dict[str, str]]:
    """What a template renders of each content of a message, ``{"text": …}``, or why it does not, ``{"error": …}``.

    Raises:
        VoVNetError: it is too large, takes too long or ends its process.
    """
    if len(template) > SIZE:
        raise VoVNetError(f"the chat template of {folder} has {len(template):,} characters; at most {SIZE:,} are read.")
    asked = {
        "template": template,
        "special_tokens": special_tokens,
        "contents": contents,
        "seconds": SECONDS,
        "bytes": MEMORY,
        "size": SIZE,
    }
    # The same packages as here, and no threads, whose stacks count as memory.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", str(SCRIPT)]  # -P: modules beside the script are not importable by name
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asked, default=str),
            capture_output=True,
            text=True,
            timeout=START,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VoVNetError(f"the chat template of {folder} cannot be rendered ({error}); try again.") from error
    if done.returncode == 0:
        return list(json.loads(done.stdout))
    said = (done.stderr.strip() or f"its process ended with status {done.returncode}").splitlines()[-1]
    if done.returncode == -signal.SIGXCPU:
        said = f"it takes more than {SECONDS} seconds"
    raise VoVNetError(
        f"the chat template of {folder} cannot be rendered ({said}); save the tokenizer with the model's own."
    )
