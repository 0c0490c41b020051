"""The same seed gives the same tables, however the work is divided and in whatever process it is done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import Configure
from tests.faults.conftest import Calm, Jobs
from tests.faults.harness import Job, final, printed
from vovnet.provenance import determinism

SAME = ("id", "action", "prediction", "score", "parsed", "vision_tokens", "cost")
DIVISIONS = ("eval.num_workers=2", "eval.batch_size=7", "eval.chunk_rows=11")
SAMPLED = ("policy/baseline=always_full", "eval.do_sample=true", "eval.temperature=2.0", "eval.max_samples=60")


def decisions(runs: Path) -> list[list[object]]:
    """What was decided and answered, by sample; wall times and the last bits of estimates left out."""
    (path,) = runs.rglob("predictions.jsonl")
    return [[json.loads(line)[name] for name in SAME] for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_sampled_answers_depend_on_the_seed_and_on_nothing_else(jobs: Jobs, tmp_path: Path) -> None:
    found = {}
    for name, overrides in {"one": (), "divided": DIVISIONS, "other": ("eval.seed=1",)}.items():
        job = Job("eval", (*jobs.base, *SAMPLED, *overrides))
        runs = tmp_path / name
        job.reset(runs)
        job.finish(runs)
        found[name] = decisions(runs)
    assert found["other"] != found["one"]
    assert found["divided"] == found["one"]


@pytest.mark.slow
def test_a_training_is_the_same_however_it_reads_its_questions(calm, tmp_path_factory: pytest.TempPathFactory) -> None:
    undisturbed: Calm = calm("stage 1")
    job = Job("train", (*undisturbed.job.arguments, "eval.num_workers=1", "eval.chunk_rows=11"))
    runs = tmp_path_factory.mktemp("divided") / "runs"
    job.reset(runs)
    job.finish(runs)
    adapter = next(name for name in undisturbed.files if name.endswith("adapter_model.safetensors"))
    assert final(runs)[adapter] == undisturbed.files[adapter]


@pytest.mark.slow
def test_the_order_of_hashes_changes_nothing(calm, easy_data: Path, qwen3: Path, tmp_path_factory) -> None:
    """Python salts the hashes of strings anew in every process, and with them the order of sets."""
    undisturbed: Calm = calm("policy")
    runs = tmp_path_factory.mktemp("salted") / "runs"
    call = [sys.executable, "-m", "experiments.train", *undisturbed.job.arguments, f"paths.runs={runs}"]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    subprocess.run(call, env=environment, cwd=Path(__file__).parents[2], check=True, capture_output=True)
    policy = next(name for name in undisturbed.files if name.endswith("policy.safetensors"))
    assert final(runs)[policy] == undisturbed.files[policy]


def test_the_summary_says_what_the_device_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    assert determinism() == {"device": "cpu", "deterministic_algorithms": None, "same_bits": True}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    free = determinism()
    assert (free["device"], free["deterministic_algorithms"], free["same_bits"]) == ("NVIDIA H100", False, False)
    assert "add in no fixed order" in free["why"]
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert determinism() == {"device": "NVIDIA H100", "deterministic_algorithms": True, "same_bits": True}


def test_a_summary_holds_it(configure: Configure, tmp_path: Path) -> None:
    from vovnet.results.evaluate import evaluate

    evaluate(configure("policy/baseline=no_vision", "eval.max_samples=8"), tmp_path / "run")
    assert json.loads((tmp_path / "run/summary.json").read_text())["determinism"]["same_bits"] is True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ("trainer=ddp", "training.backbone.micro_batch_size=16"),
            "is no multiple of micro_batch_size=16 times 2 devices",
        ),
        (("trainer.num_nodes=2",), "strategy=single runs on one device of one node"),
        (("trainer=ddp", "trainer.num_nodes=2"), "trainer.num_nodes > 1 needs launcher=slurm"),
        (("backbone.device=cuda",), "this machine has 0 CUDA devices; use cpu"),
        (("trainer=tpu",), "trainer=tpu does not exist"),
    ],
)
def test_an_impossible_place_is_refused_in_one_sentence(
    jobs: Jobs, tmp_path: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    if torch.cuda.is_available() and "cuda" in overrides[0]:
        pytest.skip("this machine has CUDA")
    job = Job("train", (*jobs["stage 1"].arguments, *overrides))
    job.reset(tmp_path / "runs")
    assert job.run(tmp_path / "runs") == 1
    said = printed(tmp_path / "runs")
    assert "Traceback" not in said
    assert sentence in said.splitlines()[-1]
