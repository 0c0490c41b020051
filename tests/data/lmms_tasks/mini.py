"""What of the mini sets' tasks is not lmms-eval's own: their files, and MMBench's hits one by one."""

import ast
import base64
from pathlib import Path

import pandas as pd
from datasets import Dataset, Image
from lmms_eval.tasks.mmbench.en_utils import mmbench_evaluator
from PIL import Image as Pillow

HERE = Path(__file__).parent


def mmbench_docs(docs):
    """The official TSV in the form of the hub's table: images as images, pointers followed."""
    rows = [dict(row) for row in docs]
    encoded = {int(row["index"]): row["image"] for row in rows}
    for row in rows:
        image = row["image"] if len(row["image"]) > 64 else encoded[int(row["image"])]
        row |= {"image": {"bytes": base64.b64decode(image), "path": None}, "L2-category": row.pop("l2-category")}
    return Dataset.from_list(rows).cast_column("image", Image())


def mmbench_results(doc, results):
    item = doc | {"prediction": results[0]}
    table = pd.DataFrame([{name: item[name] for name in item if item[name] != "nan"}])
    for letter in "ABCD":
        if letter not in table:
            table[letter] = float("nan")
    hit = mmbench_evaluator.eval_sub_data(table, {doc["index"]: doc["answer"]}, static_only=True)
    return {"hit": float(hit)}


def mmmu_docs(docs):
    for column in docs.column_names:
        if column.startswith("image_"):
            docs = docs.cast_column(column, Image())
    return docs


def mmmu_target(doc):
    return ast.literal_eval(doc["answer"]) if doc["answer"].startswith("[") else doc["answer"]


def textvqa_visual(doc):
    return [Pillow.open(HERE / "mini_textvqa/train_images" / f"{doc['image_id']}.jpg").convert("RGB")]
