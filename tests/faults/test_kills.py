"""Killed at any moment and started again, a command comes to the same: nothing finished is lost, nothing half read."""

import os
import signal
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Calm, place
from tests.faults.harness import SIGNALS, Job, final, leftovers, moments, parts, printed, rows_held
from tests.faults.work import Strike

KILLS = int(os.environ.get("VOVNET_KILLS", "14"))  # at random moments, of all commands together; 200 for a long run
SHARES = {"collect": 0.3, "policy": 0.25, "stage 1": 0.2, "sweep": 0.15, "report": 0.09, "report with figures": 0.01}
EVERY = (*SHARES, "calibrate", "prepare", "profile", "oracle", "error_slices", "pipeline", "local", "shards")
STRIKES = 4  # at exact places, for each of them and each command
IN_A_ROW = 4  # kills before a command may finish: the second one disturbs a run that goes on


def quotas() -> list[tuple[str, int, int]]:
    """Small portions that test processes share: command, number of the portion, kills."""
    found = []
    for name, share in SHARES.items():
        kills = max(1, round(KILLS * share))
        found += [(name, i, min(IN_A_ROW * 2, kills - i)) for i in range(0, kills, IN_A_ROW * 2)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "portion", "kills"), quotas())
def test_killed_at_random_moments_it_comes_to_the_same(
    calm, tmp_path_factory: pytest.TempPathFactory, name: str, portion: int, kills: int
) -> None:
    undisturbed, runs, rng = calm(name), place(tmp_path_factory), Random(f"{name} {portion}")
    job: Job = undisturbed.job
    pace = undisturbed.seconds
    while kills > 0:
        job.reset(runs)
        held = parts(runs / "outcomes")
        for place_in_row in range(min(IN_A_ROW, kills)):
            if not job.disturb(runs, *moments(rng, pace)):
                pace *= 1.0 if place_in_row else 0.9  # it ended first: the machine is less busy now
                break
            kills -= 1
            now = parts(runs / "outcomes")
            assert all(set(held[table]) <= set(now[table]) for table in held), "finished rows were lost"
            held = now
        before = rows_held(runs / "outcomes")
        ends_as(undisturbed, runs)
        assert all(set(held[table]) <= set(parts(runs / "outcomes")[table]) for table in held)
        assert before <= rows_held(runs / "outcomes")


@pytest.mark.slow
@pytest.mark.parametrize("function", ["replace", "rename", "fsync", "unlink"])
@pytest.mark.parametrize("name", ["collect", "stage 1", "sweep"])
def test_killed_where_files_come_into_being_it_comes_to_the_same(
    calm, tmp_path_factory: pytest.TempPathFactory, name: str, function: str
) -> None:
    """Between writing a file and renaming it, between two renames: places that a random moment seldom meets."""
    undisturbed, runs, rng = calm(name), place(tmp_path_factory), Random(f"{name} {function}")
    job: Job = undisturbed.job
    job.reset(runs)
    number, struck = 1, 0
    while struck < STRIKES and job.strike(runs, Strike(function, number)):
        number, struck = number + rng.randint(1, 6), struck + 1
    ends_as(undisturbed, runs)


MATRIX = [(name, number) for name in EVERY for number in (*SIGNALS, signal.SIGSTOP)]
HANDFUL = [
    ("calibrate", signal.SIGKILL),
    ("prepare", signal.SIGTERM),
    ("oracle", signal.SIGINT),
    ("profile", signal.SIGSTOP),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), MATRIX if "VOVNET_KILLS" in os.environ else HANDFUL)
def test_every_command_comes_to_the_same_after_every_signal(
    calm, tmp_path_factory: pytest.TempPathFactory, name: str, number: signal.Signals
) -> None:
    undisturbed, runs, rng = calm(name), place(tmp_path_factory), Random(f"{name} {number}")
    pace = undisturbed.seconds
    undisturbed.job.reset(runs)
    while not undisturbed.job.disturb(runs, number, rng.uniform(0.2, 0.8) * pace):
        pace *= 0.7  # it ended first: the machine is less busy now
        undisturbed.job.reset(runs)
    # A pause ends nothing: the command itself has to come to it.
    (is_as if number == signal.SIGSTOP else ends_as)(undisturbed, runs)


def ends_as(undisturbed: Calm, runs: Path) -> None:
    """Started again, a command comes to what it comes to undisturbed, and leaves nothing else."""
    undisturbed.job.finish(runs)
    is_as(undisturbed, runs)


def is_as(undisturbed: Calm, runs: Path) -> None:
    """A folder holds what a command comes to undisturbed, and nothing else."""
    found = final(runs)
    assert found.keys() == undisturbed.files.keys(), printed(runs)
    assert [name for name in found if found[name] != undisturbed.files[name]] == []
    assert leftovers(runs) == []
