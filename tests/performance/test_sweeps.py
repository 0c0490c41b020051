"""Sweeps, the large store, start-up and the ablations at tiny scale: figures are there and the checks bite."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Configure, compose_config
from tests.performance import growth, opening, question, store, sweeps, training
from vovnet.errors import VoVNetError

measures = pytest.mark.skipif(
    os.environ.get("VOVNET_PERFORMANCE") != "1",
    reason="VOVNET_PERFORMANCE=1 measures in processes of its own for minutes, which tells nothing of the package",
)


@measures
def test_sweeps_are_measured_by_the_commands_themselves(configure: Configure) -> None:
    ran: list[tuple[str, ...]] = []

    def noted(entry: str, *arguments: str, refused: bool = False) -> None:
        ran.append((entry, *arguments))
        if arguments[1:4] == sweeps.FIFTY:
            (runs,) = [a.removeprefix("paths.runs=") for a in arguments if a.startswith("paths.runs=")]
            assert not Path(runs, "outcomes").exists()  # it collects everything itself
        if len(ran) <= 2:  # a policy and the evaluation that collects; what follows reads the same store
            sweeps.command(entry, *arguments, refused=refused)

    found = sweeps.sweeps(configure("eval.max_samples=8"), 2, noted)
    assert [one.unit for one in found] == ["s", "x", "s", "s"]
    assert found[2].passed
    (lambdas,) = [a for command in ran for a in command if a.startswith("policy.lambda_cost=") and a.count(",") > 9]
    assert lambdas.count(",") + 1 == sweeps.JOBS
    assert [command[2:5] for command in ran].count(sweeps.FIFTY) == 2
    baselines, fallbacks, settings = (choice.count(",") + 1 for choice in sweeps.FIFTY)
    assert (baselines * fallbacks, settings) == (10, 5)


@measures
def test_the_question_gives_the_answers_of_a_loop_in_plain_transformers(tmp_path: Path) -> None:
    unlike, cold, warm = question.question(compose_config(f"paths.runs={tmp_path}"), 1, count=16)
    assert (unlike.value, unlike.detail) == (0, "of 16 questions under 6 looks")
    assert cold.unit == "x"
    assert 0 < warm.value < 30
    assert list(tmp_path.iterdir()) == []


@measures
def test_a_collection_is_measured_as_its_set_grows(tmp_path: Path) -> None:
    config = compose_config(f"paths.runs={tmp_path}")
    time, memory = growth.growth(config, small=32, large=64)
    assert 0.1 < time.value < 10
    assert 0.8 < memory.value < 1.25
    assert "ms a question of 64" in time.detail
    assert list(tmp_path.iterdir()) == []


@measures
def test_opening_a_large_set_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    seconds, memory = opening.opening(tmp_path, questions=40)
    assert 0 < seconds.value < 30
    assert 0 <= memory.value < 500
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VoVNetError, match="opening a large set failed"):
        opening.opening(tmp_path, questions=0)


def test_a_command_that_fails_or_that_should_is_no_figure() -> None:
    with pytest.raises(VoVNetError, match="no_such_key"):
        sweeps.command("eval", "no_such_key=1")
    with pytest.raises(VoVNetError, match="did not do as it should"):
        sweeps.command("eval", "--cfg", "job", refused=True)


@measures
def test_a_store_is_written_measured_and_deleted(tmp_path: Path) -> None:
    found = store.large_store(tmp_path, 300, settled=0.0)
    assert [one.name for one in found] == [
        "store, open",
        "store, evaluate a policy",
        "store, peak memory",
        "store, a further lambda",
    ]
    assert all(one.value > 0 for one in found)
    assert list(tmp_path.iterdir()) == []


def test_the_evaluation_of_a_large_store_reads_what_was_written(tmp_path: Path) -> None:
    store.write_store(tmp_path, 200, width=16, part=64)
    found = store.measure_store(tmp_path, 200, width=16)
    assert 0.3 < found["accuracy"] <= 1
    part = sorted(tmp_path.glob("text-*/*.arrow"))[1]
    content = part.read_bytes()
    part.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    with pytest.raises(VoVNetError, match="is damaged"):
        store.measure_store(tmp_path, 200, width=16)


def test_every_ablation_is_trained_under_every_seed() -> None:
    trained = []

    def noted(policy, options, outcomes, epochs, held_out) -> None:  # type: ignore[no-untyped-def]
        trained.append((policy, options.seed))
        if options.seed == 0:
            training.fit(policy, replace(options, batch_size=64), outcomes, 1, held_out)

    (one,) = training.ablations(compose_config(), noted, samples=128, held_out=32)
    assert one.value > 0
    assert len(trained) == 30
    assert {seed for _, seed in trained} == {0, 1, 2}
    assert len({repr(policy) for policy, _ in trained}) >= 8
    assert np.isfinite(one.target)
