"""Menus: which looks a configuration names, and what is no menu."""

import itertools
from dataclasses import replace

import pytest

from tests.conftest import compose_config
from vovnet.actions import USUAL, Action
from vovnet.compose import config_hash, config_identity
from vovnet.errors import VoVNetError
from vovnet.schema import VisionBudgetConfig, disorder, in_order, resolution_of

BUDGET: VisionBudgetConfig = compose_config().vision_budget


def menu(*overrides: str) -> list[str]:
    return [look.label for look in compose_config(*overrides).menu]


def test_an_action_space_names_a_menu() -> None:
    assert menu() == ["no", "coarse", "full"]
    assert menu("policy.action_space=binary") == ["no", "full"]
    assert menu("policy.action_space=ladder") == ["no", "coarse", "side25", "side40", "full"]


def test_a_ladder_rises_by_equal_factors_within_the_budget() -> None:
    labels = menu("policy.action_space=ladder", "vision_budget=standard")
    sides = [256, *(int(label.removeprefix("side")) for label in labels[2:4]), 1024]
    assert sides == [256, 406, 645, 1024]
    assert all(b / a == pytest.approx(4 ** (1 / 3), rel=0.01) for a, b in itertools.pairwise(sides))


def test_looks_name_a_menu_of_ones_own() -> None:
    config = compose_config("policy.looks=[no,coarse,{long_side:32},{long_side:64,merge:0.75},full]")
    assert [look.label for look in config.menu] == ["no", "coarse", "side32", "side64_merge75", "full"]
    bounds = [resolution_of(look, BUDGET.coarse, BUDGET.full) for look in config.menu[1:]]
    assert [(bound.long_side, bound.max_pixels) for bound in bounds] == [(16, 256), (32, 4096), (64, 4096), (64, 4096)]
    assert config.menu[3].pruning == ("merge", 0.75)


def test_options_of_a_look_are_beside_fulls() -> None:
    full = replace(BUDGET.full, processor={"tiles": 4, "split": True})
    look = Action.of(32, processor={"split": False})
    assert resolution_of(look, BUDGET.coarse, full).keys == {"tiles": 4, "split": False}
    assert resolution_of(Action.of(32), BUDGET.coarse, full).keys == full.keys


def test_usual_menus_leave_a_configurations_hash_as_it_was() -> None:
    assert "looks" not in config_identity(compose_config())["policy"]
    own, ladder = compose_config("policy.looks=[no,{long_side:32},full]"), compose_config("policy.action_space=ladder")
    assert config_identity(own)["policy"]["looks"] == ["no", {"long_side": 32}, "full"]
    assert len({config_hash(one) for one in (compose_config(), own, ladder)}) == 3


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("policy.looks=[no,{long_side:48},{long_side:24},full]", "policy.looks: the look side24 shows less than"),
        ("policy.looks=[no,full,{merge:0.5}]", "policy.looks: the look merge50 shows less than full before it"),
        ("policy.looks=[no,{long_side:128}]", "policy.looks: the look side128 is larger than FULL"),
        ("policy.looks=[no,{long_side:32},{long_side:32}]", "policy.looks: the menu no, side32, side32 holds"),
        ("policy.looks=[coarse,full]", "policy: looks names no, which costs nothing, and then other looks"),
        ("policy.looks=[no]", "policy: looks names no, which costs nothing, and then other looks"),
        ("policy.looks=[no,full] policy.action_space=binary", "policy: looks and action_space=binary exclude"),
        ("policy.looks=[no,fine]", "policy.looks.1='fine' is refused: a look is no, coarse, full, or a mapping"),
        ("policy.looks=[no,{side:32}]", "policy.looks.1={'side': 32} is refused: a look is no, coarse, full, or a map"),
        ("policy.looks=[no,{merge:1.5}]", "policy.looks.1.merge=1.5 is refused"),
        ("policy.looks=[no,{merge:0.5,pool:0.5}]", "policy.looks.1: a look has one way of pruning"),
        ("policy.action_space=ladder vision_budget.coarse.long_side=63", "policy.action_space=ladder: 2 looks do not"),
        ("policy=sequential policy.action_space=binary", "policy: procedure=sequential learns scores and"),
        ("policy=sequential policy.looks=[no,full]", "policy: procedure=sequential learns scores and"),
    ],
)  # fmt: skip
def test_what_is_no_menu_is_refused_in_a_sentence(overrides: str, said: str) -> None:
    with pytest.raises(VoVNetError) as refused:
        compose_config(*overrides.split())
    assert str(refused.value).startswith(said)


def test_looks_of_several_menus_have_one_order() -> None:
    small, thin, large = Action.of(24), Action.of(48, ("merge", 0.5)), Action.of(48)
    assert in_order([large, Action.FULL, thin, *USUAL, small], BUDGET) == (
        Action.NO, Action.COARSE, small, thin, large, Action.FULL,
    )  # fmt: skip


def test_full_pruned_by_the_policy_is_smaller_in_a_menu() -> None:
    looks = (Action.NO, Action.of(60), Action.FULL)
    assert disorder(looks, BUDGET) == ""
    assert "full shows less than side60" in disorder(looks, BUDGET, full_kept=0.5)


def test_the_yaml_word_no_is_the_look() -> None:
    """YAML 1.1 reads it as a truth value, in a recipe's file too."""
    assert menu("policy.looks=[false,full]") == ["no", "full"]
