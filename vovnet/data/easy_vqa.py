"""easy-VQA (Victor Zhou, 2019): one coloured shape per 64x64 image, questions with one-word answers.

The package ``easy-vqa`` carries the files; ``dataset.path`` may name a folder of the same layout:
``{train,test}/questions.json`` (rows of question, answer, image id), ``{train,test}/images/ID.png``
and ``answers.txt``.
"""

import importlib.util
import json
from pathlib import Path

from vovnet.data.sample import ImageRef, PlainSet, Sample
from vovnet.errors import VoVNetError
from vovnet.fingerprint import fingerprint_files
from vovnet.schema import DatasetConfig


class EasyVQA(PlainSet):
    """One split, in the order of ``questions.json``."""

    name = "easy_vqa"
    metric = "exact_match"
    scorer = "easy_vqa"

    def __init__(self, config: DatasetConfig, split: str) -> None:
        self.split = split
        self.config = config
        folder = _data_folder(config.path) / split
        questions_file = folder / "questions.json"
        try:
            rows = json.loads(questions_file.read_bytes())
            if not isinstance(rows, list):
                raise ValueError("no list of rows")
        except FileNotFoundError as error:
            raise VoVNetError(
                f"{questions_file} does not exist; dataset.path must name a folder with "
                f"{split}/questions.json and {split}/images, or be null."
            ) from error
        except ValueError as error:
            raise VoVNetError(
                f"{questions_file} is not a JSON list of questions ({error}); replace the file."
            ) from error
        except OSError as error:
            raise VoVNetError(f"{questions_file} cannot be read ({error.strerror}); mend its permissions.") from error
        self.files = (questions_file,)
        images: dict[int, ImageRef] = {}  # one object per image, however many questions it has
        self._samples = [_sample(row, i, folder, images, questions_file) for i, row in enumerate(rows)]
        if not self._samples:
            raise VoVNetError(f"{questions_file} holds no question; replace the file.")
        try:
            self.fingerprint = fingerprint_files({questions_file, *(image.path for image in images.values())})
        except OSError as error:
            raise VoVNetError(f"image {error.filename} cannot be read ({error.strerror}); restore the file.") from error


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


def _sample(row: object, index: int, folder: Path, images: dict[int, ImageRef], source: Path) -> Sample:
    """Check one row and give its question a category."""
    if not (
        isinstance(row, list)
        and len(row) == 3
        and isinstance(row[0], str)
        and row[0].strip()
        and isinstance(row[1], str)
        and isinstance(row[2], int)
    ):
        raise VoVNetError(
            f"{source}, row {index}: expected [question, answer, image id], found {str(row)[:80]}; mend the row."
        )
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
