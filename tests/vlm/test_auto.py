"""What a configuration leaves to be found is found in the checkpoint."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import compose_config
from tests.families.factory import write
from vovnet.actions import Action
from vovnet.compose import config_identity
from vovnet.errors import VoVNetError
from vovnet.vlm.auto import settled
from vovnet.vlm.budget import budget_of
from vovnet.vlm.files import PACKAGED, find_checkpoint


def test_a_configuration_without_anything_open_stays_itself() -> None:
    config = compose_config()
    assert settled(config) is config


def test_the_packaged_checkpoint_gets_its_own_budget_back() -> None:
    found = settled(compose_config("backbone=folder", f"backbone.path={PACKAGED / 'tiny'}"))
    usual = compose_config("backbone=tiny")
    assert found.vision_budget.coarse == usual.vision_budget.coarse
    assert found.vision_budget.full == usual.vision_budget.full
    assert (found.backbone.dtype, found.backbone.prompt_order) == ("float32", "image_first")


@pytest.mark.parametrize("family", ["idefics3", "aya_vision", "llava_next", "ovis2"])
def test_coarse_costs_less_than_full_in_families_that_have_a_cheaper_look(family: str, tmp_path: Path) -> None:
    write(family, tmp_path / family)
    config = settled(compose_config("backbone=folder", f"backbone.path={tmp_path / family}"))
    budget = budget_of(config.vision_budget, find_checkpoint(config.backbone))
    budget.check_coarse()  # type: ignore[attr-defined]  # raises where it does not
    assert not config.vision_budget.auto
    assert "auto" not in (config.vision_budget.coarse.processor, config.backbone.dtype, config.backbone.prompt_order)


def test_where_nothing_is_cheaper_coarse_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write("gemma3", tmp_path / "g")
    config = settled(compose_config("backbone=folder", f"backbone.path={tmp_path / 'g'}"))
    with pytest.raises(VoVNetError, match=r"16 tokens.*policy\.action_space=binary"):
        budget_of(config.vision_budget, find_checkpoint(config.backbone)).check_coarse()  # type: ignore[attr-defined]


def test_the_keys_that_would_help_are_named(tmp_path: Path) -> None:
    write("idefics3", tmp_path / "i")
    config = compose_config("backbone=folder", f"backbone.path={tmp_path / 'i'}", "vision_budget=standard")
    budget = budget_of(settled(config).vision_budget, find_checkpoint(config.backbone))
    with pytest.raises(VoVNetError, match=r"vision_budget\.coarse\.processor='\{do_image_splitting:false\}'"):
        budget.check_coarse()  # type: ignore[attr-defined]


def test_a_bound_in_tokens_holds_in_every_family(tmp_path: Path) -> None:
    write("ovis2", tmp_path / "o")
    for path, most in ((tmp_path / "o", 4), (PACKAGED / "tiny", 3)):
        bound = f"vision_budget.coarse.max_tokens={most}"
        config = settled(compose_config("backbone=folder", f"backbone.path={path}", bound))
        budget = budget_of(config.vision_budget, find_checkpoint(config.backbone))
        for size in ((64, 64), (128, 96), (200, 20)):
            assert 0 < budget.tokens(*size, Action.COARSE) <= most


def test_a_bound_that_no_picture_keeps_is_refused(tmp_path: Path) -> None:
    write("ovis2", tmp_path / "o")
    config = compose_config("backbone=folder", f"backbone.path={tmp_path / 'o'}", "vision_budget.coarse.max_tokens=3")
    with pytest.raises(VoVNetError, match=r"coarse\.max_tokens=3 cannot be had .* 4 tokens at least"):
        settled(config)


def test_an_option_that_the_processor_lacks_is_refused(tmp_path: Path) -> None:
    write("idefics3", tmp_path / "i")
    overrides = ["backbone=folder", f"backbone.path={tmp_path / 'i'}", "vision_budget.coarse.processor={nonsense: 1}"]
    config = settled(compose_config(*overrides))
    with pytest.raises(VoVNetError, match=r"coarse\.processor names nonsense, .* idefics3 .*do_image_splitting"):
        budget_of(config.vision_budget, find_checkpoint(config.backbone)).tokens(64, 64, Action.COARSE)


def test_the_type_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PACKAGED / "tiny", tmp_path / "tiny"))
    for written, expected in (("bfloat16", "bfloat16"), (None, "float32")):
        content = json.loads((folder / "config.json").read_text())
        for part in (content, content["text_config"], content["vision_config"]):
            part["dtype"] = written
        (folder / "config.json").write_text(json.dumps(content))
        assert settled(compose_config("backbone=folder", f"backbone.path={folder}")).backbone.dtype == expected
    content["dtype"] = "float8_e4m3fn"
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(VoVNetError, match=r"names the type float8_e4m3fn; set backbone\.dtype"):
        settled(compose_config("backbone=folder", f"backbone.path={folder}"))


def test_a_folder_has_to_be_named() -> None:
    with pytest.raises(VoVNetError, match=r"add backbone\.path=FOLDER"):
        settled(compose_config("backbone=folder"))


def test_newer_keys_in_their_usual_values_leave_the_identity_of_older_runs() -> None:
    identity = config_identity(compose_config())
    assert "implementation" not in identity["backbone"]
    assert "auto" not in identity["vision_budget"]
    assert set(identity["vision_budget"]["full"]) == {"long_side", "max_pixels"}
    other = config_identity(compose_config("backbone.implementation=generic"))
    assert other["backbone"]["implementation"] == "generic"


def test_a_look_of_ones_own_may_set_a_processors_options(tmp_path: Path) -> None:
    write("idefics3", tmp_path / "i")
    looks = "policy.looks=[no,{processor:{do_image_splitting:false}},full]"
    config = settled(compose_config("backbone=folder", f"backbone.path={tmp_path / 'i'}", looks))
    budget = budget_of(config.vision_budget, find_checkpoint(config.backbone))
    whole, small = Action.FULL, config.menu[1]
    for side in (64, 128):
        assert 0 < budget.tokens(side, side, small) < budget.tokens(side, side, whole)
        assert budget.target_size(side, side, small) == budget.target_size(side, side, whole)
    unknown = Action.of(processor={"splits": False})
    with pytest.raises(
        VoVNetError, match=r"policy\.looks \(options\w+\)\.processor names splits, which the image proc"
    ):
        budget.tokens(64, 64, unknown)


def test_a_menu_that_the_found_budget_does_not_take_is_refused() -> None:
    path = PACKAGED / "tiny"
    for menu, said in (
        (
            "policy.looks=[no,{long_side:1000},full]",
            r"^policy\.looks: the look side1000 is larger than FULL, whose long",
        ),
        ("policy.looks=[no,coarse,{long_side:32},full]", None),
    ):
        config = compose_config("backbone=folder", f"backbone.path={path}", menu)
        if said is None:
            assert settled(config).menu == config.menu
            continue
        with pytest.raises(VoVNetError, match=said):
            settled(config)
