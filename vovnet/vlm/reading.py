"""What files and questions become before the model sees them, as digests: part of everything that is stored.

The text around a question, token ids and pixels depend on a checkpoint's files and on libraries: transformers,
tokenizers and Pillow. Fixed texts and pictures are run through them, so that only versions that differ in these split
what is stored.
"""

import importlib
import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from vovnet.data.decoding import decoding_digest
from vovnet.errors import VoVNetError
from vovnet.fingerprint import digest, fingerprint_files, recall_text, remember_text
from vovnet.ranks import world_size
from vovnet.schema import BackboneConfig
from vovnet.vlm.chat_template import BARE, Frame, Reading, chat_frame, has_template
from vovnet.vlm.families import fast_path, is_generic
from vovnet.vlm.files import PATTERNS, Checkpoint

log = logging.getLogger(__name__)
READING = ("chat_template", "tokenizer", "pictures")  # names of the digests
FORMAT = 2  # rises when a digest is made otherwise
LIBRARIES = ("transformers", "tokenizers", "jinja2", "numpy")  # these make what is remembered
SAMPLE = "What is 12.5% of 80 km², naïvely?\n\n\tA. ten — 十\u3000 B.  e\u0301 🦊\r\n<|im_end|> don't <b>U.S.A.</b>"


def reading_facts(config: BackboneConfig, checkpoint: Checkpoint) -> dict[str, str]:
    """Digests of all that reading depends on: of what the ``chat_template`` renders, of what the ``tokenizer`` and the
    decoding and cutting of ``pictures`` do.

    Empty ones of a backbone that is imported: how its engine has read is not known.

    Raises:
        VoVNetError: as ``reading_of``.
    """
    if checkpoint.engine is not None:
        return dict.fromkeys(READING, "")
    found = reading_of(config, checkpoint)
    return {
        "chat_template": found.frame,
        "tokenizer": found.tokens,
        "pictures": digest([found.cut, decoding_digest(found.resample)]),
    }


def reading_of(config: BackboneConfig, checkpoint: Checkpoint) -> Reading:
    """How a checkpoint's files are read; the same for one object, even by a template that prints the time.

    Raises:
        VoVNetError: no tokenizer, image processor or chat template, or one that cannot be used.
    """
    known, generic = checkpoint.readings, is_generic(config, checkpoint.model_type)
    name = config.chat_template + (" generic" if generic else "")
    if name not in known:
        known[name] = _reading(checkpoint, config.chat_template, generic)
    found: Reading = known[name]
    return found


def _reading(checkpoint: Checkpoint, chat_template: str, generic: bool) -> Reading:
    """Remembered on disk: the libraries alone take seconds to import, which a warm evaluation does not."""
    folder = checkpoint.folder
    files = {path for pattern in PATTERNS for path in folder.glob(pattern) if path.suffix != ".safetensors"}
    versions = [version(name) for name in LIBRARIES]
    asked = [FORMAT, fingerprint_files(files), chat_template, versions, *(["generic"] if generic else [])]
    name = "reading " + digest(asked)
    found = _recalled(name)
    if found is None:
        found, changing = _read(checkpoint, chat_template, generic)
        if not changing:
            remember_text(name, json.dumps(asdict(found)))
    for remark in found.remarks:
        log.warning("%s", remark)
    return found


def _recalled(name: str) -> Reading | None:
    text = recall_text(name)
    try:
        if text is None:
            return None
        content = json.loads(text)
        return Reading(**content | {"remarks": tuple(content["remarks"])})
    except (ValueError, TypeError, LookupError) as error:
        log.warning("what was remembered of a checkpoint's tokenizer is damaged (%s); it is read again", error)
        return None


def _read(checkpoint: Checkpoint, chat_template: str, generic: bool) -> tuple[Reading, bool]:
    """A reading, and whether another process may read otherwise.

    Raises:
        VoVNetError: as ``reading_of``, and where several ranks may read otherwise.
    """
    folder = checkpoint.folder
    family: Any = importlib.import_module("vovnet.vlm.generic.family") if generic else fast_path(checkpoint.model_type)
    tokenizer, image_processor = family.processors(folder, checkpoint.model_type)
    bare = chat_template == "none" or (generic and not has_template(folder, tokenizer))
    frame = BARE if bare else chat_frame(folder, tokenizer)
    if frame.changing and world_size() > 1:
        raise VoVNetError(
            f"the chat template of {folder} may print the date or a random text, which several ranks may render at "
            "different times; train in one process, or save the tokenizer with a template that always prints the same."
        )
    remarks = frame.remarks
    if bare and chat_template != "none":
        remarks = (f"{folder} has no chat template; questions are asked as bare text, as base models are",)
    resample = getattr(image_processor, "resample", None)
    reading = Reading(
        head=frame.head,
        tail=frame.tail,
        frame=_frame(tokenizer, frame),
        tokens=_tokens(tokenizer),
        cut=family.pictures(image_processor),
        resample=None if resample is None else int(resample),
        remarks=remarks,
        shown=family.shown(folder, tokenizer) if generic and not bare else {},
    )
    return reading, frame.changing


def _frame(tokenizer: Any, frame: Frame) -> str:
    texts = frame.head, frame.tail
    return digest([texts, [tokenizer.encode(text, add_special_tokens=False) for text in texts]])


def _tokens(tokenizer: Any) -> str:
    from vovnet.vlm.tokens import encode_user_texts

    ids = encode_user_texts(tokenizer, [SAMPLE])
    return digest([ids, tokenizer.batch_decode(ids, skip_special_tokens=True)])
