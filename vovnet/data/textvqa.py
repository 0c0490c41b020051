"""TextVQA: open answers by ten annotators; the official JSON beside its images, or the hub's parquet.

OCR tokens stay in the file: with them in the prompt the text pass could read the image.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vovnet.data.rows import RowErrors, image_beside
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import Row, cell_text

IMAGE_FOLDERS = ("train_images", "test_images", "images")


def read_textvqa(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """Samples in file order; questions about one image share its reference."""
    images: dict[str, ImageRef | None] = {}
    for row in rows:
        key = cell_text(row.fields.get("image_id")) or str(row.number)
        if images.get(key) is None:
            images[key] = row.images.get("image") or image_beside(path, IMAGE_FOLDERS, f"{key}.jpg")
        image = images[key]
        # The most common answer first: it is the one whose likelihood is taken.
        given = row.fields.get("answers")
        counted = Counter(str(answer) for answer in given) if isinstance(given, list) else Counter()
        answers = tuple(sorted(counted.elements(), key=lambda answer: (-counted[answer], answer)))
        if row.problem:
            errors.report(path, row.number, row.problem)
        elif not cell_text(row.fields.get("question")):
            errors.report(path, row.number, "the question is empty")
        elif not answers:
            errors.report(
                path, row.number, "there are no answers (the test file carries none; take the validation file)"
            )
        elif image is None:
            errors.report(path, row.number, f"image {row.fields.get('image_id')} is in no image folder beside the file")
        else:
            classes = row.fields.get("image_classes")
            yield Sample(
                id=cell_text(row.fields.get("question_id")) or str(row.number),
                question=cell_text(row.fields["question"]),
                images=(image,),
                answers=answers,
                group=key,
                category=str(classes[0]) if isinstance(classes, list) and classes else "",
            )
