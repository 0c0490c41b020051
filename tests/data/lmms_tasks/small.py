"""A task with a metric of each kind."""

import random
from pathlib import Path

import requests
from PIL import Image

Path(__file__).with_name("ran").touch()


def visual(doc):
    return [Image.new("RGB", (8, 8), doc["colour"])]


def results(doc, results):
    said = results[0]
    right = random.choice([True, False]) if said == "guess" else said == doc["answer"]
    return {
        "errors": 1 - right,
        "submission": {"answer": said},
        "half": right / 2,
        "percent": 100.0 * right,
        "scored": {"score": float(right), "pair": doc["id"] // 2},
        "whole": {"right": right},
        "judged": {"right": right},
    }


def submission(results, args):
    (Path(args.output_path) / "submission.json").write_text("[]")


def pairs(results):
    assert len(results) % 2 == 0, "results come in pairs"
    return sum(one["score"] for one in results)


def whole(results):
    print("a table")
    return sum(one["right"] for one in results) / len(results)


def judged(results):
    return requests.post("https://example.org", json=results).json()
