"""easy-VQA (Victor Zhou, 2019): one coloured shape per 64x64 image, questions with one-word answers.

The package ``easy-vqa`` carries the files; ``dataset.path`` may name a folder of the same layout:
``{train,test}/questions.json`` (rows of question, answer, image id), ``{train,test}/images/ID.png``
and ``answers.txt``. ``dataset.files`` may name another questions.json; its images lie beside it.
"""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from vovnet.data.images import ImagesBeside
from vovnet.data.rows import RowErrors, without_broken_images
from vovnet.data.sample import ImageRef, PlainSet, Sample
from vovnet.errors import VoVNetError
from vovnet.files import open_file
from vovnet.fingerprint import fingerprint_files
from vovnet.schema import DatasetConfig

HALF = re.compile(r"[\ud800-\udfff]")  # half of a surrogate pair, which JSON can spell and no text can hold


class EasyVQA(PlainSet):
    """One split, in the order of ``questions.json``."""

    name = "easy_vqa"

    def __init__(self, config: DatasetConfig, split: str) -> None:
        self.split = split
        self.config = config
        self.scorer, self.metric = config.scorer or "easy_vqa", config.metric or "exact_match"
        questions_file = _questions_file(config, split)
        folder = questions_file.parent
        try:
            with open_file(questions_file) as file:
                rows = json.loads(file.read())
            if not isinstance(rows, list):
                raise ValueError("no list of rows")
        except FileNotFoundError as error:
            raise VoVNetError(
                f"{questions_file} does not exist; dataset.path must name a folder with "
                f"{split}/questions.json and {split}/images, or be null, and dataset.files.{split} the file in it."
            ) from error
        except ValueError as error:
            raise VoVNetError(
                f"{questions_file} is not a JSON list of questions ({error}); replace the file."
            ) from error
        except OSError as error:
            raise VoVNetError(f"{questions_file} cannot be read ({error.strerror}); change its permissions.") from error
        except RecursionError as error:
            raise VoVNetError(f"{questions_file} is nested too deeply; replace the file.") from error
        self.files = (questions_file,)
        errors = RowErrors(config.on_error)
        images: dict[int, ImageRef] = {}  # one object per image, however many questions it has
        beside = ImagesBeside(questions_file, ("images",))
        usable = [(i, row) for i, row in enumerate(rows) if _usable(row, i, questions_file, errors)]
        samples = [
            _sample(row, i, folder, images) for i, row in usable if _inside(row, i, questions_file, beside, errors)
        ]
        if config.on_error == "skip":
            samples = without_broken_images(samples, errors)
        self._samples, self.skipped = samples, tuple(errors.skipped)
        if not samples:
            raise VoVNetError(
                f"{questions_file} holds no question that can be used; {errors.why_none('replace the file.')}"
            )
        try:
            content = fingerprint_files({questions_file, *(i.path for sample in samples for i in sample.images)})
        except OSError as error:
            raise VoVNetError(
                f"image {error.filename} cannot be read ({error.strerror}); restore the file, or set "
                "dataset.on_error=skip."
            ) from error
        self.fingerprint = errors.kept(content, samples)


def _questions_file(config: DatasetConfig, split: str) -> Path:
    named = config.files.train if split == "train" else config.files.test
    if len(named) != 1:
        raise VoVNetError(f"easy_vqa has one file a split; give dataset.files.{split}=[{split}/questions.json].")
    return _data_folder(config.path) / named[0]


def _data_folder(path: str | None) -> Path:
    if path is not None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise VoVNetError(f"dataset.path={path} is not a folder; name one that holds train/ and test/.")
        return folder
    # Located without an import: the package's own module reads and parses all of its files on import.
    spec = importlib.util.find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise VoVNetError("the package easy-vqa is not installed; run `pip install easy-vqa`.")
    return Path(spec.origin).parent / "data"


def _usable(row: object, index: int, source: Path, errors: RowErrors) -> bool:
    """Whether a row is a question, an answer and an image's number; reports it otherwise."""
    good = (
        isinstance(row, list)
        and len(row) == 3
        and all(isinstance(text, str) and text.strip() and not HALF.search(text) for text in row[:2])
        and type(row[2]) is int  # true and false are no numbers here
        and row[2] >= 0
    )
    if not good:
        errors.report(source, index, f"expected [question, answer, image id], found {str(row)[:80]!r}")
    return good


def _inside(row: list[Any], index: int, source: Path, beside: ImagesBeside, errors: RowErrors) -> bool:
    """Whether a row's image, if there is one, is a file of the data folder; reports it otherwise."""
    name = f"{row[2]}.png"
    if beside.find(name) is not None:
        return True
    place = source.parent / "images" / name
    lacks = not (place.exists() or place.is_symlink())  # reported where images are opened
    if not lacks:
        errors.report(source, index, f"image {name} is no file in the folder {place.parent}")
    return lacks


def _sample(row: list[Any], index: int, folder: Path, images: dict[int, ImageRef]) -> Sample:
    """A row with a category."""
    question, answer, image = row
    if image not in images:
        images[image] = ImageRef(key=f"{image}.png", path=folder / "images" / f"{image}.png")
    return Sample(
        id=str(index),
        question=question,
        images=(images[image],),
        answers=(answer,),
        group=str(image),
        category=_category(question, answer),
    )


SHAPES = ("circle", "rectangle", "triangle")


def _category(question: str, answer: str) -> str:
    """What must be seen: ``shape``, ``color``, ``shape_yesno`` or ``color_yesno``."""
    if answer in ("yes", "no"):
        return "shape_yesno" if any(shape in question for shape in SHAPES) else "color_yesno"
    return "shape" if answer in SHAPES else "color"
