"""Sweeps, the large store, start-up and the ablations at tiny scale: figures are there and the checks bite."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Configure, compose_config
from tests.performance import growth, opening, store, sweeps, training
from vovnet.errors import VoVNetError


@pytest.mark.slow
def test_sweeps_are_measured_by_the_commands_themselves(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    run = sweeps.command

    def noted(entry: str, *arguments: str, refused: bool = False) -> None:
        ran.append((entry, *arguments))
        if arguments[1:4] == sweeps.FIFTY:
            (runs,) = [a.removeprefix("paths.runs=") for a in arguments if a.startswith("paths.runs=")]
            assert not Path(runs, "outcomes").exists()  # it collects everything itself
        if len(ran) <= 2:  # a policy and the evaluation that collects; what follows reads the same store
            run(entry, *arguments, refused=refused)

    monkeypatch.setattr(sweeps, "command", noted)
    found = sweeps.sweeps(configure("eval.max_samples=8"), 2)
    assert [one.unit for one in found] == ["s", "x", "s", "s"]
    assert found[2].passed
    (lambdas,) = [a for command in ran for a in command if a.startswith("policy.lambda_cost=") and a.count(",") > 9]
    assert lambdas.count(",") + 1 == sweeps.JOBS
    assert [command[2:5] for command in ran].count(sweeps.FIFTY) == 2
    baselines, fallbacks, settings = (choice.count(",") + 1 for choice in sweeps.FIFTY)
    assert (baselines * fallbacks, settings) == (10, 5)


def test_a_collection_is_measured_as_its_set_grows(tmp_path: Path) -> None:
    config = compose_config(f"paths.runs={tmp_path}")
    time, memory = growth.growth(config, small=32, large=64)
    assert 0.1 < time.value < 10
    assert 0.8 < memory.value < 1.25
    assert "ms a question of 64" in time.detail
    assert list(tmp_path.iterdir()) == []


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


def test_a_store_is_written_measured_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SETTLED", 0.0)
    found = store.large_store(tmp_path, 300)
    assert [one.name for one in found] == [
        "store, open",
        "store, evaluate a policy",
        "store, peak memory",
        "store, a further lambda",
    ]
    assert all(one.value > 0 for one in found)
    assert list(tmp_path.iterdir()) == []


def test_the_evaluation_of_a_large_store_reads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WIDTH", 16)
    monkeypatch.setattr(store, "PART", 64)
    store.write_store(tmp_path, 200)
    found = store.measure_store(tmp_path, 200)
    assert 0.3 < found["accuracy"] <= 1
    part = sorted(tmp_path.glob("text-*/*.arrow"))[1]
    content = part.read_bytes()
    part.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    with pytest.raises(VoVNetError, match="is damaged"):
        store.measure_store(tmp_path, 200)


def test_every_ablation_is_trained_under_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    fit = training.fit

    def noted(policy, options, outcomes, epochs) -> None:  # type: ignore[no-untyped-def]
        trained.append((policy, options.seed))
        if options.seed == 0:
            fit(policy, replace(options, batch_size=64), outcomes, 1)

    monkeypatch.setattr(training, "fit", noted)
    monkeypatch.setattr(training, "SAMPLES", 128)
    monkeypatch.setattr(training, "HELD_OUT", 32)
    (one,) = training.ablations(compose_config())
    assert one.value > 0
    assert len(trained) == 30
    assert {seed for _, seed in trained} == {0, 1, 2}
    assert len({repr(policy) for policy, _ in trained}) >= 8
    assert np.isfinite(one.target)
