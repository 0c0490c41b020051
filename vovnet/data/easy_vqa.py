"""easy-VQA (Victor Zhou, 2019): one coloured shape per 64x64 image, questions with one-word answers.

The package ``easy-vqa`` carries the files; ``dataset.path`` may name a folder of the same layout:
``{train,test}/questions.json`` (rows of question, answer, image id), ``{train,test}/images/ID.png``
and ``answers.txt``.
"""

import hashlib
import importlib.util
import json
from pathlib import Path

from vovnet.data.sample import ImageRef, Sample
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig


class EasyVQA:
    """One split, in the order of ``questions.json``."""

    name = "easy_vqa"
    metric = "exact_match"
    scorer = "easy_vqa"
    skipped: tuple[str, ...] = ()

    def __init__(self, config: DatasetConfig, split: str) -> None:
        self.split = split
        self.config = config
        folder = _data_folder(config.path) / split
        questions_file = folder / "questions.json"
        try:
            text = questions_file.read_bytes()
            rows = json.loads(text)
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
        images: dict[int, ImageRef] = {}  # one object per image, however many questions it has
        self._samples = [_sample(row, i, folder, images, questions_file) for i, row in enumerate(rows)]
        if not self._samples:
            raise VoVNetError(f"{questions_file} holds no question; replace the file.")
        self.fingerprint = self._fingerprint(text)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    def _fingerprint(self, questions: bytes) -> str:
        """SHA-256 over the questions and every image's bytes, in order of image id."""
        digest = hashlib.sha256(questions)
        images = {image.key: image.path for sample in self._samples for image in sample.images}
        for key in sorted(images):
            try:
                content = images[key].read_bytes()
            except OSError as error:
                raise VoVNetError(
                    f"image {images[key]} cannot be read ({error.strerror}); restore the file."
                ) from error
            digest.update(f"{key} {len(content)} ".encode() + content)
        return digest.hexdigest()


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
