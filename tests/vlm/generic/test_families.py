"""Every family by the generic implementation: whichever way a question takes, the numbers are those of the plain way.

The plain way reads each prompt whole and alone. Families that need torchvision run in a process of their own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.commands import ROOT
from tests.families import beside
from tests.families.factory import FAMILIES

# isort: split
import torch
from torch import Tensor

from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.data import Item
from vovnet.errors import VoVNetError
from vovnet.report.families import HEADER, cells, label
from vovnet.vlm.agreement import noise_item
from vovnet.vlm.generic.model import GenericVLM
from vovnet.vlm.generic.probe import VERSION, Row, examine, load, untried
from vovnet.vlm.protocol import Answer, Batch, Decoding, Reading

NEED_TORCHVISION = "cohere2_vision kimi_k25 lfm2_vl llama4 minicpmv4_6 minicpmv4_7 mistral3 molmo2 pixtral".split()
HERE = [name for name in FAMILIES if beside.has_torchvision() or name not in NEED_TORCHVISION]
NOT_BATCHED = ("molmo2",)  # its tensors number the patches of all images of a call
# Recurrent layers; cross-attention; and what is not batched.
NOT_JOINED = ("lfm2_vl", "lfm3_vl", "qwen3_5", "qwen3_5_moe", "qwen4_exp", "mllama", *NOT_BATCHED)
INEXACT_REUSE = ("paligemma",)  # its prompts are read in both directions
PAGE = ROOT / "experiments/families.md"
GREEDY = Decoding(max_new_tokens=4, num_beams=1, do_sample=False, temperature=1.0)
ITEMS = [
    noise_item(0, "What is shown?", (64, 48)),
    noise_item(1, "How many are there, and of which colour is the largest one?", (40, 64)),
    noise_item(2, "Is it red?", (90, 30)),
]


@dataclass(frozen=True)
class Seen:
    """What a model gives for some questions under an action."""

    logits: Tensor  # [B, V]
    nll: Tensor  # [B]
    answers: list[Answer]

    @property
    def entropy(self) -> Tensor:
        """Of the next token, [B]."""
        return torch.distributions.Categorical(logits=self.logits).entropy()


@dataclass(frozen=True)
class Case:
    """A family's model, and what it gives the plain way."""

    name: str
    vlm: GenericVLM
    plain: dict[Action, Seen]


def build(vlm: GenericVLM, items: list[Item]) -> Batch:
    return vlm.builder.build(items, VISUAL_ACTIONS)


@torch.no_grad()
def see(vlm: GenericVLM, batch: Batch, action: Action, reuse: bool = True) -> Seen:
    text = vlm.read(batch, Action.NO) if reuse else None
    state = vlm.read(batch, action, text)
    answers = vlm.answer([Reading(batch, action, state)], GREEDY)[0]
    return Seen(state.logits, vlm.nll(state, batch.references), answers)


def alone(vlm: GenericVLM, action: Action) -> Seen:
    rows = [see(vlm, build(vlm, [item]), action, reuse=False) for item in ITEMS]
    logits, nll = (torch.cat([getattr(row, name) for row in rows]) for name in ("logits", "nll"))
    return Seen(logits, nll, [row.answers[0] for row in rows])


def assert_same(found: Seen, expected: Seen) -> None:
    scale = float(expected.logits.std())
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-4 * scale)
    torch.testing.assert_close(found.entropy, expected.entropy, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.nll, expected.nll, rtol=0, atol=1e-4)
    assert [(one.text, one.tokens) for one in found.answers] == [(one.text, one.tokens) for one in expected.answers]
    confidences = [[one.confidence for one in seen.answers] for seen in (found, expected)]
    assert confidences[0] == pytest.approx(confidences[1], rel=1e-3)


@pytest.fixture(scope="module", autouse=True)
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What models do exactly is looked at anew."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=HERE)
def case(request: pytest.FixtureRequest, fresh: None) -> Case:
    vlm = load(beside.checkpoints() / request.param)
    return Case(request.param, vlm, {action: alone(vlm, action) for action in USUAL})


@pytest.fixture(scope="module")
def other(fresh: None) -> GenericVLM:
    """A model of another family, which keeps the positions of its last image."""
    return load(beside.checkpoints() / "qwen2_vl")


SWAPPED = ("glm4v", "glm46v", "glm4v_moe")  # copies of a prompt take its images in another order


@torch.no_grad()
def test_beams_see_the_images_of_a_prompt_as_they_are_or_are_refused(case: Case) -> None:
    """The best of one token is the likeliest token."""
    (place, first, text), (_, second, _) = (noise_item(row, "Which is larger?", (64, 48)) for row in (0, 7))
    batch = build(case.vlm, [(place, replace(first, images=first.images + second.images), text)])
    reading = Reading(batch, Action.FULL, case.vlm.read(batch, Action.FULL))
    (greedy,), one = case.vlm.answer([reading], replace(GREEDY, max_new_tokens=1))[0], replace(GREEDY, num_beams=2)
    if case.name in SWAPPED:
        with pytest.raises(VoVNetError, match=r"images of a prompt in another order; set eval\.num_beams=1"):
            case.vlm.answer([reading], one)
    else:
        (best,) = case.vlm.answer([reading], replace(one, max_new_tokens=1))[0]
        assert (best.text, best.confidence) == (greedy.text, pytest.approx(greedy.confidence, rel=1e-3))


@pytest.mark.parametrize("action", USUAL)
def test_a_batch_gives_what_each_question_gives_alone_and_whole(case: Case, action: Action) -> None:
    batch = build(case.vlm, ITEMS)
    assert_same(see(case.vlm, batch, action), case.plain[action])  # images go on from the cache of their question
    assert_same(see(case.vlm, batch, action, reuse=False), case.plain[action])


@torch.no_grad()
def test_answers_written_together_are_those_of_each_look_alone(case: Case) -> None:
    batch = build(case.vlm, ITEMS)
    text = case.vlm.read(batch, Action.NO)
    states = [case.vlm.read(batch, action, text) for action in USUAL]
    for reused in (True, False):  # with padding after the text, and before it alone
        states = states if reused else [case.vlm.read(batch, action) for action in USUAL]
        readings = [Reading(batch, action, state) for action, state in zip(USUAL, states, strict=True)]
        found = case.vlm.answer(readings, GREEDY)
        for action, state, answers in zip(USUAL, states, found, strict=True):
            # The states stay as they are: their references are read after the answers.
            assert_same(Seen(state.logits, case.vlm.nll(state, batch.references), answers), case.plain[action])


def test_every_family_takes_the_fast_ways_that_it_can(case: Case) -> None:
    assert case.vlm.exact.batch == (case.name not in NOT_BATCHED)
    assert case.vlm.exact.resume
    assert case.vlm.exact.join == (case.name not in NOT_JOINED)
    if case.vlm.builder.shares_text:
        assert case.vlm.cache_reuse == (case.name not in INEXACT_REUSE)
    batch = build(case.vlm, ITEMS)
    with torch.no_grad():
        state = case.vlm.read(batch, Action.FULL, case.vlm.read(batch, Action.NO))
    assert (state.reused_tokens > 0).all() == case.vlm.cache_reuse


def test_counts_of_tokens_are_known_before_they_are_read(case: Case) -> None:
    batch = build(case.vlm, ITEMS)
    for action in USUAL:
        predicted = [case.vlm.builder.tokens(sample, [action])[0] for _, sample, _ in ITEMS]
        assert case.vlm.read(batch, action).vision_tokens.tolist() == predicted
        assert (action is Action.NO) == (max(predicted) == 0)
        assert max(predicted) <= case.vlm.builder.max_tokens


def test_an_image_changes_what_follows_it_and_nothing_else(case: Case) -> None:
    moved = [(row, replace(sample, images=ITEMS[row - 1][1].images), text) for row, sample, text in ITEMS]
    batch = build(case.vlm, moved)
    assert_same(see(case.vlm, batch, Action.NO), case.plain[Action.NO])
    full, plain = see(case.vlm, batch, Action.FULL), case.plain[Action.FULL]
    assert ((full.logits - plain.logits).abs().amax(1) > 1e-2 * plain.logits.std()).all()


def test_the_reference_answer_changes_its_nll_alone(case: Case) -> None:
    batch = build(case.vlm, [(row, replace(sample, answers=("blue",)), text) for row, sample, text in ITEMS])
    for action in (Action.NO, Action.FULL):
        found, plain = see(case.vlm, batch, action), case.plain[action]
        assert ((found.nll - plain.nll).abs() > 1e-4).all()
        assert_same(replace(found, nll=plain.nll), plain)


@torch.no_grad()
def test_calls_in_between_leave_nothing_behind(case: Case, other: GenericVLM) -> None:
    batch, turned = build(case.vlm, ITEMS), build(case.vlm, ITEMS[::-1])
    text = case.vlm.read(batch, Action.NO)
    see(other, build(other, ITEMS), Action.FULL)
    see(case.vlm, turned, Action.FULL)
    state = case.vlm.read(batch, Action.COARSE, text)
    see(case.vlm, turned, Action.FULL)
    answers = case.vlm.answer([Reading(batch, Action.COARSE, state)], GREEDY)[0]
    assert_same(Seen(state.logits, case.vlm.nll(state, batch.references), answers), case.plain[Action.COARSE])


def test_training_reads_the_same(case: Case) -> None:
    batch = build(case.vlm, ITEMS if case.vlm.exact.batch else ITEMS[:1])
    text = case.vlm.read(batch, Action.NO)
    for action in (Action.NO, Action.FULL):
        found, plain = case.vlm.read(batch, action, text).logits, case.plain[action].logits[: len(batch)]
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-4 * float(plain.std()))
        expected = case.plain[action].nll[: len(batch)]
        with torch.no_grad():
            torch.testing.assert_close(case.vlm.training_nll(batch, action), expected, rtol=0, atol=1e-4)


def test_the_page_has_the_row_that_the_probe_writes(case: Case) -> None:
    row = examine(case.vlm, case.name)
    assert not row.reason
    assert row.train
    (written,) = (line for line in table(PAGE.read_text(encoding="utf-8")) if line[0] == label(row))
    needs = "num2words" if case.name == "smolvlm" else "torchvision" if case.name in NEED_TORCHVISION else ""
    assert written[-1] == needs
    if is_of_this_version():  # another version may count otherwise
        exact = HEADER.index("reuse exact")
        without_difference = [
            [*line[:exact], line[exact].split(" ")[0], *line[exact + 1 : -1]] for line in (written, cells(row))
        ]
        assert without_difference[0] == without_difference[1]


@pytest.mark.skipif(beside.has_torchvision(), reason="they run in this process")
@pytest.mark.slow
def test_families_that_need_torchvision_in_a_process_that_has_it() -> None:
    """What says most of a family: all its numbers, and the row that the probe makes of it."""
    chosen = f"(batch_gives or together or page_has) and ({' or '.join(NEED_TORCHVISION)})"
    done = beside.run("-m", "pytest", "-p", "no:cacheprovider", __file__, "-k", chosen)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_page_names_every_other_model_type() -> None:
    if is_of_this_version():
        text = PAGE.read_text(encoding="utf-8")
        tried = [Row(name, family.model_type or name) for name, family in FAMILIES.items()]
        assert table(text, 1) == [list(line) for line in untried(tried)]


def is_of_this_version() -> bool:
    return f"with transformers {VERSION}:" in PAGE.read_text(encoding="utf-8")


def table(text: str, number: int = 0) -> list[list[str]]:
    """Rows of one of a page's tables."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)[number]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in found.splitlines()[2:]]
