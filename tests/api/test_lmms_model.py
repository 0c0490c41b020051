"""VoVNet as a model of lmms-eval: found by its entry point, asked by the harness, its looks among the results."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tests.commands import ROOT
from tests.lmms import TASKS, entry_points, lmms_folder
from vovnet.errors import VoVNetError

ROWS = [{"id": i, "question": f"What color is shape {i}?", "answer": "red", "colour": "red"} for i in range(3)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a task and this tree's entry points; lmms-eval is importable."""
    folder = tmp_path_factory.mktemp("lmms")
    shutil.copytree(TASKS, folder / "tasks")
    (folder / "tasks/small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    paths = [str(lmms_folder()), str(entry_points(folder))]
    sys.path += paths
    yield folder
    for path in paths:
        sys.path.remove(path)


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    """The model as ``--model vovnet --model_args … --batch_size 2`` makes it."""
    from lmms_eval.models import get_model

    given = f"policy=always_coarse,backbone=tiny,routing={place}/routing.jsonl"
    return get_model("vovnet").create_from_arg_string(given, {"batch_size": "2", "device": None})


def requests(rows: int, most: int = 4, until: tuple[str, ...] = (), **kwargs: object) -> list[Any]:
    """What lmms-eval hands to a simple model."""

    def visual(doc: dict[str, Any]) -> list[Image.Image]:
        return [Image.new("RGB", (64, 64), doc["colour"])]

    asked = {"max_new_tokens": most, "until": list(until), **kwargs}
    return [
        SimpleNamespace(
            args=(ROWS[row]["question"], asked, visual, row, "small", "test"), task_name="small", doc_id=row
        )
        for row in range(rows)
    ]


def test_answers_looks_and_costs_reach_the_harness(model: Any, place: Path) -> None:
    from lmms_eval.models.model_utils.gen_metrics import reset_logged_metrics, summarize_logged_metrics

    model.task_dict["small"] = {"test": ROWS}
    reset_logged_metrics()
    found = model.generate_until(requests(3))
    written = [json.loads(line) for line in (place / "routing.jsonl").read_text().splitlines()]
    assert [line["answer"] for line in written] == [one.text for one in found]
    assert [(line["task"], line["doc_id"], line["look"]) for line in written] == [
        ("small", i, "coarse") for i in range(3)
    ]
    summary = summarize_logged_metrics()
    assert summary["avg_rate_coarse"] == 1.0
    assert summary["avg_cost"] == pytest.approx(written[0]["cost"])
    assert summary["total_gen_tokens"] == sum(one.token_counts.output_tokens for one in found) > 0


def test_the_tasks_length_and_ends_hold(model: Any) -> None:
    model.task_dict["small"] = {"test": ROWS}
    (whole,), (short,) = model.generate_until(requests(1, 8)), model.generate_until(requests(1, 1))
    assert short.token_counts.output_tokens == 1 < whole.token_counts.output_tokens
    (cut,) = model.generate_until(requests(1, 8, until=(whole.text[1:],)))
    assert cut.text == whole.text[:1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a policy."""
    import vovnet

    folder = tmp_path_factory.mktemp("policy")
    vlm, data = vovnet.load_vlm("tiny"), vovnet.load_dataset("easy_vqa")
    out = vovnet.collect(vlm, data, splits=["train"], max_samples=60, runs=folder)
    vovnet.train_policy(out.train, folder=folder / "policy", epochs=1)
    return folder / "policy"


def test_the_harness_runs_a_trained_policy(place: Path, trained: Path, tmp_path: Path) -> None:
    import vovnet

    (place / "tasks/plain.yaml").write_text(
        "include: small.yaml\ntask: plain\nmetric_list: [{metric: half, aggregation: mean}]\n"
    )
    given = f"policy={trained},lambda_cost=0.05,backbone=tiny,routing={tmp_path}/routing.jsonl"
    command = [sys.executable, "-m", "lmms_eval", "--model", "vovnet", "--model_args", given, "--tasks", "plain"]
    command += ["--include_path", str(place / "tasks"), "--batch_size", "2", "--output_path", str(tmp_path / "results")]
    paths = os.pathsep.join([str(lmms_folder()), str(place), str(ROOT)])
    surroundings = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=place / "tasks", env=surroundings, capture_output=True, text=True)
    (found,) = tmp_path.rglob("*_results.json")
    said = json.loads(found.read_text())
    lines = [json.loads(line) for line in (tmp_path / "routing.jsonl").read_text().splitlines()]
    vlm = vovnet.load_vlm("tiny")
    router = vovnet.Router(
        vlm,
        vovnet.load_policy(str(trained), vlm, lambda_cost=0.05),
        vovnet.Dataset(vovnet.load_dataset("jsonl", prompt_template="{question}", open_template=None).config),
        max_new_tokens=3,
    )
    replies = [router(row["question"], Image.new("RGB", (8, 8), str(row["colour"]))) for row in ROWS]
    assert [(one["look"], one["cost"]) for one in lines] == [(one.look, one.cost) for one in replies], done.stderr
    assert said["throughput"]["avg_cost"] == pytest.approx(sum(one.cost for one in replies) / len(replies))
    shares = [value for name, value in said["throughput"].items() if name.startswith("avg_rate_")]
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"polcy": "x"}, "does not take the argument polcy"),
        ({"batch_size": "auto"}, "does not take batch_size=auto"),
        ({"policy": "oracle"}, "oracle"),
        ({"policy": "missing/folder"}, "missing/folder"),
        ({"backbone": "missing"}, "there is no model missing"),
    ],
)
def test_a_wrong_argument_is_one_sentence(options: dict[str, str], sentence: str, place: Path) -> None:
    from vovnet.api.lmms_model import RoutedModel

    with pytest.raises(VoVNetError, match=sentence):
        RoutedModel(**options)


def test_what_a_policy_cannot_decide_about_is_refused(model: Any) -> None:
    model.task_dict["small"] = {"test": ROWS}
    asked = requests(1)[0]
    for shown, what in (([], "nothing"), (["a.mp4"], "a str")):
        request = SimpleNamespace(args=(*asked.args[:2], lambda _, shown=shown: shown, *asked.args[3:]))
        with pytest.raises(VoVNetError, match=f"document 0 of small shows {what}"):
            model.generate_until([request])
    for call in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(VoVNetError, match="choose tasks with output_type generate_until"):
            call([])
