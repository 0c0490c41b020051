"""What the jobs of a sweep need is collected in one pass over the questions, and is what each would collect alone."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import Configure
from tests.outcomes.test_collect import same
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.asked import Asked, together
from vovnet.outcomes.collect import Collector
from vovnet.results.evaluate import evaluate
from vovnet.results.setting import asked_of
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.files import find_checkpoint

PRUNED = "policy/baseline=vision_token_pruning_proxy"
THRESHOLD = ("policy/baseline=uncertainty_threshold", "policy.baseline.threshold=0.5")
JOBS = (
    ("policy/baseline=always_full",),
    ("policy/baseline=no_vision",),
    THRESHOLD,
    (PRUNED, "policy.baseline.pruning_ratio=0.5"),
    (PRUNED, "policy.baseline.pruning_ratio=0.25", "policy.baseline.pruning_mode=random"),
    (*THRESHOLD, "policy.full_pruning_ratio=0.5", "policy.full_pruning_mode=merge"),
    ("policy/baseline=cascade", "policy.baseline.threshold=0.5"),
)
SMALLER = ("policy/baseline=resolution_scaling", "policy.baseline.long_side=32")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The tables of each collector that has begun."""
    found: list[set[str]] = []
    fill = Collector.fill

    def noted(self: Collector, stop: int) -> object:
        found.append({*self.tables})
        return fill(self, stop)

    monkeypatch.setattr(Collector, "fill", noted)
    return found


def run(configs: Sequence[RunConfig], folder: Path) -> list[dict[str, int]]:
    """Evaluate jobs of one session one after another; what each says it has computed."""
    session = Session()
    session.jobs = configs
    return [evaluate(config, folder / str(n), session).computed for n, config in enumerate(configs)]


@pytest.mark.parametrize("decoding", [(), ("eval.do_sample=true",)], ids=["greedy", "sampled"])
def test_jobs_together_find_what_each_finds_alone(
    configure: Configure, tmp_path: Path, decoding: tuple[str, ...], passes: list[set[str]]
) -> None:
    stores = {name: f"paths.store={tmp_path / name}" for name in ("one", "each")}
    several, alone = ([configure("eval.max_samples=24", *job, *decoding, at) for job in JOBS] for at in stores.values())
    counted = run(several, tmp_path)
    shared = len(passes)
    assert shared == (4 if decoding else 1)  # drawn answers depend on a look's number, which a pruned FULL has not
    assert [run([config], tmp_path)[0] for config in alone] == counted
    assert len(passes) > 2 * shared - 1
    for one, each in zip(several, alone, strict=True):
        asked, session = asked_of(one, Session()), Session()
        dataset, checkpoint = load_dataset(one.dataset, "test"), find_checkpoint(one.backbone)
        found, expected = (
            Asked(config, asked.looks, True).tables(checkpoint, dataset).outcomes(asked.looks, 24, session)
            for config in (one, each)
        )
        assert {*found.branches} == {*asked.looks}
        assert same(found, expected, exactly=False)


def test_a_job_alone_collects_what_it_needs(configure: Configure, tmp_path: Path, passes: list[set[str]]) -> None:
    run([configure("eval.max_samples=8", *THRESHOLD)], tmp_path)
    assert passes == [{"text", "no", "full"}]


def test_jobs_about_other_questions_or_images_of_another_size_wait(
    configure: Configure, tmp_path: Path, passes: list[set[str]]
) -> None:
    count, full = "eval.max_samples=8", "policy/baseline=always_full"
    others = [configure("eval.max_samples=9", *THRESHOLD), configure(count, *SMALLER)]
    run([configure(count, full), *others], tmp_path)
    assert passes == [{"full"}, {"text", "no", "full"}, {"full"}]


def test_what_one_job_cannot_have_keeps_no_other_from_its_own(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beams = ("eval.max_samples=8", "eval.num_beams=2")
    fine, refused = (configure(*beams, *job) for job in (JOBS[0], JOBS[3]))
    session = Session()
    session.jobs = (fine, refused)
    with caplog.at_level(logging.WARNING):
        assert evaluate(fine, tmp_path / "fine", session).computed == {"full": 8}
    assert "not collected at once, but job by job: beam search cannot prune" in caplog.text
    with pytest.raises(VoVNetError, match="beam search cannot prune"):
        evaluate(refused, tmp_path / "refused", session)


def test_a_look_and_a_full_that_show_the_same_are_two_tables(configure: Configure) -> None:
    """One pass has one place for what halves the image's tokens."""
    look = configure("policy/baseline=always_look", "policy.baseline.look={stride: 0.5}")
    pruned = configure(PRUNED, "policy.baseline.pruning_ratio=0.5")
    dataset, checkpoint = load_dataset(look.dataset, "test"), find_checkpoint(look.backbone)
    own, other = asked_of(look, Session()), asked_of(pruned, Session())
    assert {*together(own, [other], checkpoint, dataset).tables} == {"stride50"}
    assert {*together(asked_of(configure(*THRESHOLD), Session()), [other], checkpoint, dataset).tables} == {
        "text",
        "no",
        "full",
        "stride50",
    }
