"""MMMU with images at their marks (``dataset.interleave``): keys, results, live as replayed; off, all is as before."""

import json
from pathlib import Path

import pytest

from tests.conftest import compose_config
from vovnet.actions import USUAL
from vovnet.compose import config_identity
from vovnet.data import load_dataset, prompt_text
from vovnet.errors import VoVNetError
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.looks import looks_of
from vovnet.policy.card import make_card
from vovnet.policy.find import warn_of_differences
from vovnet.report.runs import Run
from vovnet.results.evaluate import evaluate
from vovnet.results.write import PREDICTIONS, SUMMARY
from vovnet.schema import RunConfig
from vovnet.vlm.files import find_checkpoint

IN = "dataset.interleave=true"


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A drawn MMMU of a few questions, some about two images."""
    folder = tmp_path_factory.mktemp("mini")
    given = (
        "dataset=mini_mmmu",
        f"dataset.path={folder}/set",
        "dataset.generate={seed: 0, train_images: 12, test_images: 40}",
    )
    load_dataset(compose_config(*given).dataset, "test")
    return given


def test_images_follow_their_marks_and_the_text_stays(mini: tuple[str, ...]) -> None:
    plain, marked = (load_dataset(compose_config(*mini, *more).dataset, "test") for more in ((), (IN,)))
    assert {len(sample.marks) for sample in (marked[i] for i in range(len(marked)))} == {1, 2}
    for row in range(len(plain)):
        one, other = plain[row], marked[row]
        assert (one.marks, one.images) == ((), other.images)  # drawn questions show images in order
        assert prompt_text(plain, one) == prompt_text(marked, other)
        assert len(other.marks) == len(other.images)


def ids(config: RunConfig) -> dict[str, str]:
    dataset, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
    return {name: key.id for name, key in table_keys(config, checkpoint, dataset, looks_of(config, USUAL)).items()}


def test_what_images_are_seen_in_has_keys_of_its_own(mini: tuple[str, ...]) -> None:
    off, on = ids(compose_config(*mini)), ids(compose_config(*mini, IN))
    assert {name for name in off if off[name] != on[name]} == {"coarse", "full"}  # the text pass has no images
    identities = [config_identity(compose_config(*mini, *more))["dataset"] for more in ((), (IN,))]
    assert [one.get("interleave") for one in identities] == [None, True]
    mixture = config_identity(compose_config("dataset=mini", "dataset.parts.mini_mmmu.interleave=true"))["dataset"]
    assert [part.get("interleave") for part in mixture["parts"].values()] == [None, True, None]


def test_a_set_without_marks_has_nothing_to_interleave() -> None:
    for given, sentence in (
        (("dataset=mini_textvqa", f"+{IN}"), "which mini_textvqa lacks; leave it out"),
        (("dataset=mini", f"+{IN}"), r"give dataset\.parts\.NAME\.interleave of an MMMU part"),
    ):
        with pytest.raises(VoVNetError, match=sentence):
            compose_config(*given)


def test_live_is_replay_and_the_row_says_where_images_are(mini: tuple[str, ...], tmp_path: Path) -> None:
    small = ("eval.max_new_tokens=2", "backbone.implementation=qwen")
    given = (*mini, f"paths.runs={tmp_path}/runs", "backbone.prompt_order=text_first", *small)
    given += ("policy/baseline=random_policy_matched", "policy.baseline.target_ratios=[0.2,0.4,0.4]")
    found = {
        name: evaluate(compose_config(*given, *more), tmp_path / name)
        for name, more in (("off", ()), ("replay", (IN,)), ("live", (IN, "eval.mode=live", "eval.batch_size=3")))
    }
    lines = {name: (tmp_path / name / PREDICTIONS).read_text().splitlines() for name in found}
    told = ("id", "action", "prediction", "score", "vision_tokens")
    replay, live = ([[json.loads(line)[key] for key in told] for line in lines[name]] for name in ("replay", "live"))
    assert replay == live
    tokens = {line[-1] for line in live}
    assert {0, 4} < tokens
    assert max(tokens) > 64  # two whole images
    rows = {name: one.row for name, one in found.items()}
    assert [rows[name].prompt_order for name in found] == ["text_first", *["text_first+interleaved"] * 2]
    assert rows["replay"].avg_text_tokens == pytest.approx(rows["live"].avg_text_tokens)
    assert rows["replay"].config_hash != rows["off"].config_hash
    off, on = (
        Run(tmp_path / name, rows[name], json.loads((tmp_path / name / SUMMARY).read_text()))
        for name in ("off", "replay")
    )
    assert off.protocol["prompt"] != on.protocol["prompt"]  # a report compares neither with the other


def test_a_policy_of_other_places_is_used_with_a_warning(
    mini: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    configs = [compose_config(*mini, *more) for more in ((), (IN,))]
    cards = [make_card(config, find_checkpoint(config.backbone), 4) for config in configs]
    assert "interleave" not in json.loads(cards[0].data_config)
    for card, wanted in (cards, cards[::-1]):
        caplog.clear()
        warn_of_differences(Path("policy"), card, wanted)
        assert "another prompt (dataset.prompt_template, dataset.interleave)" in caplog.text
