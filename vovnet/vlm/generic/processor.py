"""A checkpoint's processor: its image processor, its tokenizer, and how the one's tokens enter the other's text.

Processors that also take videos need torchvision to load, which images do not: the video part is left out.
"""

import inspect
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer, AutoVideoProcessor, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from vovnet.errors import VoVNetError, first_line
from vovnet.files import read_object

INSTALL = "pip install 'vovnet[families]'"  # torchvision and num2words
NAMED_IN = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)


class MissingPackageError(VoVNetError):
    """A processor needs a package that is not installed."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(f"{what} needs {package}, which is not installed; {INSTALL}.")
        self.package = package


def load_processor(folder: Path, model_type: str) -> Any:
    """The processor that belongs to a model type, with Pillow's image processor where the family has one.

    Pillow's does not depend on the version of torchvision, whose resizing differs in the last bits.

    Raises:
        VoVNetError: it is missing or damaged, or needs a package that is not installed.
    """
    kind = _without_video(_processor_class(folder, model_type))
    try:
        parts = {name: _part(folder, name) for name in kind.get_attributes()}
        content, _ = kind.get_processor_dict(str(folder), local_files_only=True)
        try:
            processor = kind.from_args_and_dict(list(parts.values()), content)
        except AttributeError:  # the family's processor asks its video part for options
            parts["video_processor"] = AutoVideoProcessor.from_pretrained(str(folder), local_files_only=True)
            processor = kind.from_args_and_dict(list(parts.values()), content)
    except (ImportError, *UNREADABLE) as error:
        if (packages := needed(error)) is not None:
            raise MissingPackageError(f"the processor of {model_type} models", packages) from error
        raise VoVNetError(
            f"{folder} lacks a processor for {model_type} models ({first_line(error)}); save it beside the model."
        ) from error
    return processor


def needed(error: BaseException) -> str | None:
    """The missing package that an error of transformers is about; None where it is about something else."""
    text = str(error).lower()
    known = next((name for name in ("torchvision", "num2words", "sentencepiece") if name in text), None)
    return first_line(error) if known is None and isinstance(error, ImportError) else known


def _part(folder: Path, name: str) -> Any:
    """A part of a processor by the name of its argument; None for the video part."""
    options = {"local_files_only": True, "trust_remote_code": False}
    if "video" in name:
        return None
    if "image_processor" not in name:
        kind = AutoTokenizer if "tokenizer" in name else AutoFeatureExtractor
        return kind.from_pretrained(str(folder), **options)
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
        found = named_processor(name) if isinstance(name, str) else None
        if inspect.isclass(found) and issubclass(found, ProcessorMixin):
            return found
    raise VoVNetError(
        f"transformers {transformers.__version__} has no processor for {model_type} models; {folder} cannot be used."
    )


def named_processor(name: str) -> Any:
    """A processor class of transformers; None where there is none.

    Raises:
        MissingPackageError: its module needs a package that is not installed.
    """
    try:
        found = getattr(transformers, name)
        found.get_attributes  # noqa: B018  of a class whose packages are missing, transformers gives a stand-in
    except ImportError as error:
        # Its lazy modules do not say what is missing.
        package = "torchvision" if isinstance(error, ModuleNotFoundError) else needed(error)
        raise MissingPackageError(f"transformers' {name}", str(package)) from error
    except AttributeError:
        return None
    return found


def _without_video(kind: Any) -> Any:
    """The same processor, which takes None for its video part."""

    class ImagesOnly(kind):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if "video" in argument_name and argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

    ImagesOnly.__name__ = ImagesOnly.__qualname__ = kind.__name__
    return ImagesOnly
