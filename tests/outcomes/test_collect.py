"""Collection: nothing twice, nothing lost, nothing leaked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands import WARM
from tests.conftest import Configure
from vovnet.actions import USUAL, Action
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes import branches, collect, parts
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.load import Loaded, load_outcomes
from vovnet.outcomes.looks import looks_of
from vovnet.outcomes.parts import DamagedPart
from vovnet.outcomes.rows import BRANCH_COLUMNS, Outcomes
from vovnet.schema import RunConfig
from vovnet.scoring import SCORERS
from vovnet.vlm.files import UNSAID, TrainedOn, find_checkpoint
from vovnet.vlm.generic.model import GenericVLM

ALL = USUAL


def load(config: RunConfig, count: int = 60, actions: tuple[Action, ...] = ALL, with_nll: bool = False) -> Loaded:
    dataset = load_dataset(config.dataset, config.eval.split)
    return load_outcomes(config, find_checkpoint(config.backbone), dataset, actions, count, with_nll=with_nll)


def same(one: Outcomes, two: Outcomes, exactly: bool = True) -> bool:
    """Equal in everything but wall time; up to rounding where batches differ."""
    close = np.array_equal if exactly else (lambda a, b: np.allclose(a, b, atol=1e-4))
    hidden = [o.text.hidden.take(np.arange(len(o))) for o in (one, two)]
    parts = [close(*hidden), close(one.text.entropy, two.text.entropy), close(one.text.margin, two.text.margin)]
    for action in one.branches:
        for column in BRANCH_COLUMNS:
            a, b = (getattr(o.branches[action], column) for o in (one, two))
            if column != "seconds" and not (a is None and b is None):
                parts.append(np.array_equal(a, b) if a.dtype.kind in "Oib" else close(a, b))
    return all(parts)


def test_weights_that_were_trained_here_have_answers_of_their_own(configure: Configure) -> None:
    """Another copy of them without the account of their training reads answers after opened reasoning otherwise."""
    config = configure()
    dataset, bare = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
    trained = replace(bare, trained_on=(TrainedOn("easy_vqa", "0" * 64, "{}"),))
    one, other, unsaid = (
        table_keys(config, checkpoint, dataset, looks_of(config, ALL))
        for checkpoint in (bare, trained, replace(bare, trained_on=(UNSAID,)))
    )
    assert one == unsaid
    assert {name for name in one if one[name] != other[name]} == {"no", "coarse", "full"}


def test_a_second_run_computes_nothing(configure: Configure) -> None:
    first = load(configure())
    second = load(configure())
    assert first.computed == dict.fromkeys(("text", "no", "coarse", "full"), 60)
    assert set(second.computed.values()) == {0}
    assert same(first.outcomes, second.outcomes)


def test_looks_answered_together_give_what_each_gives(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    generic = "backbone.implementation=generic"
    apart = load(configure(generic), with_nll=True).outcomes
    monkeypatch.setattr(GenericVLM, "answers_looks_together", True)  # as on a GPU
    together = load(configure(generic, "paths.store=${paths.runs}/together"), with_nll=True).outcomes
    assert same(apart, together, exactly=False)


def small_device(monkeypatch: pytest.MonkeyPatch, holds: int) -> list[int]:
    """Let batches of more than ``holds`` run out of memory in the last branch; the sizes that were tried."""
    tried: list[int] = []

    def run_groups(backbone, groups, *arguments):  # type: ignore[no-untyped-def]
        if groups[-1].action is Action.FULL:
            tried.append(len(groups[-1].batch))
            if tried[-1] > holds:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return branches.run_groups(backbone, groups, *arguments)

    monkeypatch.setattr(collect, "run_groups", run_groups)
    return tried


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_does_not_fit_is_answered_in_halves(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    whole = load(configure()).outcomes
    tried = small_device(monkeypatch, 5)
    config = configure("paths.store=${paths.runs}/small", "eval.batch_size=16", f"eval.num_workers={workers}")
    assert same(whole, load(config).outcomes, exactly=False)
    assert tried.count(16) == tried.count(8) == 1  # what does not fit is not tried again
    assert sum(size for size in tried if size <= 5) == 60


def test_a_single_question_that_does_not_fit_is_named(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    small_device(monkeypatch, 0)
    with pytest.raises(VoVNetError, match=r"^sample \S+ alone does not fit into the device's memory; set"):
        load(configure())


def test_more_samples_compute_only_the_new_ones(configure: Configure) -> None:
    load(configure(), 40)
    grown = load(configure(), 60)
    assert grown.computed["full"] == 20
    assert same(grown.outcomes, load(configure("paths.store=${paths.runs}/other"), 60).outcomes, exactly=False)


def test_a_missing_branch_is_computed_alone(configure: Configure) -> None:
    load(configure(), actions=(Action.NO, Action.COARSE))
    assert load(configure()).computed == {"text": 0, "no": 0, "coarse": 0, "full": 60}


def test_scores_are_the_scorers(configure: Configure) -> None:
    config = configure()
    outcomes = load(config).outcomes
    dataset = load_dataset(config.dataset, "test")
    for action in USUAL:
        branch = outcomes.branches[action]
        for i in range(60):
            judged = SCORERS["easy_vqa"](branch.answer[i], dataset[i])
            assert (judged.value, judged.parsed) == (branch.score[i], branch.parsed[i])


def test_token_counts(configure: Configure) -> None:
    outcomes = load(configure()).outcomes
    no, coarse, full = (outcomes.branches[a] for a in USUAL)
    assert (no.vision_tokens == 0).all()
    assert (coarse.vision_tokens == 4).all()
    assert (full.vision_tokens == 64).all()
    assert (full.prompt_tokens == outcomes.text.text_tokens + 64 + 2).all()  # and two frame tokens
    assert (full.reused_tokens == outcomes.text.text_tokens - 2).all()  # all but the answer cue
    assert (no.reused_tokens == no.prompt_tokens).all()


@pytest.mark.parametrize("override", ["eval.batch_size=7", "eval.num_workers=1", "eval.chunk_rows=11"])
def test_how_it_is_run_changes_no_outcome(configure: Configure, override: str) -> None:
    first = load(configure())
    second = load(configure(override, "paths.store=${paths.runs}/other"))
    assert same(first.outcomes, second.outcomes, exactly=False)


CHANGES = {
    "backbone.chat_template=none": {"text", "no", "coarse", "full"},
    "backbone.prompt_order=sandwich": {"coarse", "full"},
    "eval.cache_reuse=false": {"coarse", "full"},
    "vision_budget.full.long_side=56": {"coarse", "full"},  # COARSE is fitted inside FULL's rounded size
    "vision_budget.coarse.long_side=24": {"coarse"},
    "eval.max_new_tokens=2": {"no", "coarse", "full"},
    "eval.num_beams=2": {"no", "coarse", "full"},
    "backbone.dtype=bfloat16": {"text", "no", "coarse", "full"},
    "dataset.prompt_template='Q: {question}'": {"text", "no", "coarse", "full"},
    "eval.batch_size=3": set(),
    "eval.temperature=0.5": set(),
    "policy.lambda_cost=0.7": set(),
    "eval.seed=3": set(),
    "eval.do_sample=true": {"no", "coarse", "full"},
    "backbone.attn_implementation=eager": {"text", "no", "coarse", "full"},
}


@pytest.mark.parametrize("override", CHANGES)
def test_keys_change_with_what_determines_an_outcome_and_with_nothing_else(configure: Configure, override: str) -> None:
    def keys(config: RunConfig) -> dict[str, str]:
        dataset = load_dataset(config.dataset, "test")
        found = table_keys(config, find_checkpoint(config.backbone), dataset, looks_of(config, ALL))
        return {name: key.id for name, key in found.items()}

    before, after = keys(configure()), keys(configure(override))
    assert {name for name in before if before[name] != after[name]} == CHANGES[override]


def test_the_seed_of_sampling_is_part_of_the_key(configure: Configure) -> None:
    ids = []
    for seed in (0, 1):
        config = configure("eval.do_sample=true", f"eval.seed={seed}")
        dataset = load_dataset(config.dataset, "test")
        ids.append(table_keys(config, find_checkpoint(config.backbone), dataset, looks_of(config, ALL))["full"].id)
    assert ids[0] != ids[1]


def test_a_damaged_image_in_a_worker_is_named_in_one_line(
    easy_data: Path, tmp_path: Path, configure: Configure
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(easy_data, folder)
    image = folder / "test/images/2.png"
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(
        VoVNetError, match=r"^image .*2\.png cannot be (read|decoded) .*; replace it, or set dataset\.on_error=skip\.$"
    ):
        load(configure(f"dataset.path={folder}", "eval.num_workers=1"))


def test_another_image_or_reference_is_another_dataset(easy_data: Path, tmp_path: Path, configure: Configure) -> None:
    prints = set()
    for change in ("nothing", "image", "answer"):
        folder = tmp_path / change
        shutil.copytree(easy_data, folder)
        if change == "image":
            shutil.copy(folder / "test/images/1.png", folder / "test/images/0.png")
        if change == "answer":
            rows = json.loads((folder / "test/questions.json").read_text())
            rows[0][1] = "teal"
            (folder / "test/questions.json").write_text(json.dumps(rows))
        prints.add(load_dataset(configure(f"dataset.path={folder}").dataset, "test").fingerprint)
    assert len(prints) == 3


def test_changing_references_changes_scores_and_nll_only(easy_data: Path, tmp_path: Path, configure: Configure) -> None:
    folder = tmp_path / "other_answers"
    shutil.copytree(easy_data, folder)
    rows = json.loads((folder / "test/questions.json").read_text())
    (folder / "test/questions.json").write_text(json.dumps([[q, "teal", i] for q, _, i in rows]))
    one, two = (load(configure(f"dataset.path={f}"), with_nll=True).outcomes for f in (easy_data, folder))
    assert np.array_equal(*(o.text.hidden.take(np.arange(60)) for o in (one, two)))
    assert np.array_equal(one.text.entropy, two.text.entropy)
    for action in USUAL:
        assert np.array_equal(one.branches[action].prediction, two.branches[action].prediction)
        assert np.array_equal(one.branches[action].vision_tokens, two.branches[action].vision_tokens)
    assert not np.array_equal(one.branches[Action.FULL].nll, two.branches[Action.FULL].nll)


def test_nll_is_measured_where_it_is_asked_for_and_answers_stay(configure: Configure) -> None:
    """At once, or later beside answers that are stored."""
    looks = ("no", "coarse", "full")
    plain = load(configure())
    assert plain.computed == dict.fromkeys(("text", *looks), 60)
    assert all(branch.nll is None for branch in plain.outcomes.branches.values())
    later = load(configure(), with_nll=True)
    assert later.computed == dict.fromkeys(("text", *looks), 0) | {f"{look} nll": 60 for look in looks}
    at_once = load(configure("paths.store=${paths.runs}/other"), with_nll=True)
    assert same(later.outcomes, at_once.outcomes)
    assert same(load(configure()).outcomes, plain.outcomes)


def test_a_damaged_part_is_computed_again(configure: Configure) -> None:
    first = load(configure())
    full = next(Path(configure().paths.store).glob("full-*"))
    part = sorted(full.glob("*.arrow"))[0]
    part.write_bytes(part.read_bytes()[:200])
    again = load(configure())
    assert again.computed == {"text": 0, "no": 0, "coarse": 0, "full": 32}
    assert same(first.outcomes, again.outcomes)
    assert len(list(full.glob("*.damaged"))) == 1


def test_a_disk_that_damages_every_part_is_given_up(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_intact", lambda path: not path.parent.name.startswith("full-"))
    with pytest.raises(DamagedPart, match="its checksum is wrong"):
        load(configure())


def _collect(config: RunConfig) -> dict[str, int]:
    return dict(load(config).computed)


def test_concurrent_jobs_share_the_work(configure: Configure) -> None:
    alone = load(configure("eval.chunk_rows=2", "eval.batch_size=2", "paths.store=${paths.runs}/alone"))
    config = configure("eval.chunk_rows=2", "eval.batch_size=2")
    with WARM.Pool(3) as pool:
        computed = pool.map(_collect, [config] * 3)
    assert [sum(c[name] for c in computed) for name in ("text", "full")] == [60, 60]
    assert sum(c["full"] > 0 for c in computed) > 1, "only one of three jobs worked"
    assert same(alone.outcomes, load(config).outcomes)
