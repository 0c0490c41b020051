"""Live evaluation through Lightning's Trainer: on one rank, on two, and how it ends."""

import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands import WARM, Ranks
from tests.conftest import Configure
from tests.outcomes.test_limits import limit_of
from tests.policy.test_route import policy_file
from vovnet import rank_launch
from vovnet.data import Item, load_dataset
from vovnet.errors import VoVNetError
from vovnet.policy.route import Begun, Router
from vovnet.report.runs import find_runs
from vovnet.results import live
from vovnet.results.evaluate import evaluate, existing_row
from vovnet.results.live import RANKS, Batches
from vovnet.results.write import PREDICTIONS
from vovnet.schema import RunConfig

LIVE = ("eval.mode=live", "eval.max_samples=13", "eval.batch_size=2", "backbone.device=cpu")


@pytest.fixture(autouse=True)
def _ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that start within milliseconds."""
    monkeypatch.setattr(rank_launch, "subprocess", Ranks())


def test_two_ranks_answer_as_one(configure: Configure, tmp_path: Path) -> None:
    """Seven batches, so that the ranks have unlike numbers of them; every one is answered as on one device."""
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    given = (*LIVE, f"eval.checkpoint={path}", "policy.lambda_cost=0.01")
    one = evaluate(configure(*given), tmp_path / "one")
    two = evaluate(configure(*given, "trainer=ddp"), tmp_path / "two")
    assert (tmp_path / "one" / PREDICTIONS).read_bytes() == (tmp_path / "two" / PREDICTIONS).read_bytes()
    assert len(np.unique(one.routed.actions)) > 1
    for name in ("accuracy", "avg_cost", "unparsed_rate", "avg_text_tokens", "config_hash", "num_samples"):
        assert getattr(one.row, name) == getattr(two.row, name), name
    assert two.row.mem_peak_mb
    assert not (tmp_path / "two" / RANKS).exists()


def test_a_rank_without_a_batch_of_its_own_is_no_trouble(configure: Configure, tmp_path: Path) -> None:
    given = (*LIVE, "eval.batch_size=16", "policy/baseline=always_coarse")
    one = evaluate(configure(*given), tmp_path / "one")
    two = evaluate(configure(*given, "trainer=ddp"), tmp_path / "two")
    assert np.array_equal(one.routed.chosen.prediction, two.routed.chosen.prediction)
    assert two.row.num_samples == 13


def test_a_finished_run_takes_another_name_of_its_data_set(configure: Configure, tmp_path: Path) -> None:
    """Without being done again."""
    given = (*LIVE, "policy/baseline=no_vision")
    first = evaluate(configure(*given), tmp_path).row
    assert existing_row(configure(*given, "dataset.label=Easy"), tmp_path) == replace(first, dataset_label="Easy")
    (run,) = find_runs([tmp_path]).runs
    assert run.row.dataset_label == run.config.dataset.label == run.summary["result"]["dataset_label"] == "Easy"
    assert existing_row(configure(*given), tmp_path) == first


@pytest.mark.parametrize("baseline", ["uncertainty_threshold", "cascade"])
@pytest.mark.parametrize("size", [1, 5])
def test_images_that_threads_prepare_ahead_change_nothing(
    configure: Configure, tmp_path: Path, baseline: str, size: int
) -> None:
    given = (*LIVE, f"policy/baseline={baseline}", "eval.max_samples=13", f"eval.batch_size={size}")
    plain = evaluate(configure(*given, "eval.num_workers=0"), tmp_path / "plain").routed
    ahead = evaluate(configure(*given, "eval.num_workers=2"), tmp_path / "ahead").routed
    assert np.array_equal(plain.actions, ahead.actions)
    assert np.array_equal(plain.chosen.prediction, ahead.chosen.prediction)
    assert np.array_equal(plain.cost, ahead.cost)
    assert np.array_equal(plain.paid("reused_tokens"), ahead.paid("reused_tokens"))
    assert ahead.preparing is not None
    assert (ahead.preparing <= ahead.chosen.seconds).all()


def test_a_run_whose_answers_may_depend_on_batches_says_how_often(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Stands for half precision on a GPU; in float32 no answer differs."""
    monkeypatch.setattr(live, "depends_on_batches", lambda _: True)
    given = (*LIVE, "policy/baseline=uncertainty_threshold", "eval.max_samples=64", "eval.num_workers=1")
    evaluate(configure(*given), tmp_path / "run")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["batch_agreement"] == {"questions": 64, "actions_differ": 0.0, "answers_differ": 0.0}
    assert "of 64 questions" not in caplog.text


@pytest.mark.parametrize(("count", "size", "ranks"), [(7, 2, 2), (1, 4, 3), (8, 1, 3), (9, 9, 1)])
def test_ranks_share_the_batches_of_one_device(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, count: int, size: int, ranks: int
) -> None:
    dataset, shares = load_dataset(configure().dataset, "test"), []
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    for number in range(ranks):
        monkeypatch.setenv("RANK", str(number))
        shares.append([tuple(i for i, _, _ in batch) for batch, _ in Batches(dataset, count, size)])
        assert len(Batches(dataset, count, size)) == len(shares[-1]) > 0
    alone = [tuple(range(start, min(start + size, count))) for start in range(0, count, size)]
    assert sorted({batch for share in shares for batch in share}) == alone


def test_batches_that_do_not_fit_into_memory_are_cut(configure: Configure) -> None:
    dataset = load_dataset(configure().dataset, "test")
    cut = Batches(dataset, 8, 8, limit_of([100] * 8, most=300))
    assert [tuple(i for i, _, _ in batch) for batch, _ in cut] == [(0, 1, 2), (3, 4, 5), (6, 7)]
    assert [cut.answered(number) for number in range(len(cut))] == [3, 6, 8]


def test_a_long_question_is_named_before_any_is_answered_live(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match=r"^sample \S+ alone .* more than eval\.batch_tokens=10; raise it"):
        evaluate(configure(*LIVE, "policy/baseline=always_full", "eval.batch_tokens=10"), tmp_path / "run")


def test_a_rank_that_fails_ends_the_other_which_waits_for_it(
    configure: Configure, tmp_path: Path, easy_data: Path
) -> None:
    """An image of the second rank's batch cannot be read."""
    folder = Path(shutil.copytree(easy_data, tmp_path / "data"))
    dataset = load_dataset(configure().dataset, "test")
    groups = [dataset[i].group for i in range(len(dataset))]
    size = next(i for i, group in enumerate(groups) if group != groups[0])
    (folder / "test/images" / dataset[size].images[0].path.name).write_bytes(b"no image")
    given = (*LIVE, "trainer=ddp", "policy/baseline=always_full", f"dataset.path={folder}")
    with pytest.raises(VoVNetError, match=r"image .*png cannot be read"):
        evaluate(configure(*given, f"eval.batch_size={size}", f"eval.max_samples={size + 1}"), tmp_path / "run")
    assert not (tmp_path / "run" / RANKS).exists()
    assert not (tmp_path / "run" / PREDICTIONS).exists()


def test_ranks_that_exist_must_be_those_asked_for(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(VoVNetError, match=r"trainer.devices=1 on trainer.num_nodes=1 needs 1 processes, but 2 run"):
        evaluate(configure(*LIVE, "policy/baseline=no_vision"), tmp_path / "run")


def test_ctrl_c_is_that_and_works_once_more_afterwards(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a notebook needs it."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Router, "begin", lambda self, items: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        evaluate(configure(*LIVE, "policy/baseline=no_vision"), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) == before
    assert not (tmp_path / "run" / PREDICTIONS).exists()


def test_a_termination_ends_it_at_once(configure: Configure, tmp_path: Path) -> None:
    process = WARM.Process(target=_terminated, args=(configure(*LIVE, "policy/baseline=no_vision"), tmp_path / "run"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    assert not (tmp_path / "run" / PREDICTIONS).exists()


def _terminated(config: RunConfig, folder: Path) -> None:
    """Evaluate, and get a signal in the first batch."""
    begin = Router.begin

    def terminated(self: Router, items: Sequence[Item]) -> Begun:
        signal.raise_signal(signal.SIGTERM)
        return begin(self, items)

    Router.begin = terminated  # type: ignore[method-assign]
    evaluate(config, folder)
