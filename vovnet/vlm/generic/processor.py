"""A checkpoint's processor: its image processor, its tokenizer, and how the one's tokens enter the other's text.

Processors that also take videos need torchvision to load, which images do not: the video part is left out.
"""

import inspect
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoImageProcessor, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from vovnet.errors import VoVNetError, first_line
from vovnet.files import read_object

INSTALL = "pip install 'vovnet[families]'"  # torchvision and num2words
NAMED_IN = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)


def load_processor(folder: Path, model_type: str) -> Any:
    """The processor that belongs to a model type, with Pillow's image processor where the family has one.

    Pillow's does not depend on the version of torchvision, whose resizing differs in the last bits.

    Raises:
        VoVNetError: it is missing or damaged, or needs a package that is not installed.
    """
    kind = _without_video(_processor_class(folder, model_type))
    try:
        images = _image_processor(folder)
        processor = kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise VoVNetError(
            f"the processor of {folder} ({kind.__name__}) needs a package that is not installed ({needed(error)}); "
            f"{INSTALL}."
        ) from error
    except UNREADABLE as error:
        raise VoVNetError(
            f"{folder} lacks a processor for {model_type} models ({first_line(error)}); save it beside the model."
        ) from error
    processor.image_processor = images
    return processor


def needed(error: ImportError) -> str:
    """Which packages an error of transformers asks for."""
    known = [name for name in ("torchvision", "num2words", "sentencepiece") if name in str(error).lower()]
    return ", ".join(known) or first_line(error)


def _image_processor(folder: Path) -> Any:
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        return AutoImageProcessor.from_pretrained(str(folder), backend="pil", **options)
    except (ValueError, ImportError):  # the family has none that works on Pillow
        return AutoImageProcessor.from_pretrained(str(folder), **options)


def _processor_class(folder: Path, model_type: str) -> Any:
    """The class that a folder's files name among transformers' own, or else the model type's."""
    names = [PROCESSOR_MAPPING_NAMES.get(model_type)]
    for file in NAMED_IN:
        try:
            names.insert(0, read_object(folder / file).get("processor_class"))
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise VoVNetError(f"{folder / file} is not valid JSON ({error}); save the processor again.") from error
    for name in names:
        found = getattr(transformers, name, None) if isinstance(name, str) else None
        if inspect.isclass(found) and issubclass(found, ProcessorMixin):
            return found
    raise VoVNetError(
        f"transformers {transformers.__version__} has no processor for {model_type} models; {folder} cannot be used."
    )


def _without_video(kind: Any) -> Any:
    """The same processor without its video part, which comes last among its parts."""
    if kind.get_attributes()[-1:] != ["video_processor"]:
        return kind

    class ImagesOnly(kind):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    ImagesOnly.__name__ = ImagesOnly.__qualname__ = kind.__name__
    return ImagesOnly
