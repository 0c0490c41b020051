"""Every command works with models of other families: stores, live routing, policies, trained weights, analyses."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vovnet
from tests.families.factory import write
from vovnet.actions import Action
from vovnet.compose import compose_typed
from vovnet.data import item
from vovnet.errors import VoVNetError
from vovnet.vlm.auto import settled
from vovnet.vlm.loading import load_backbone

# isort: split
import torch

Run = Callable[..., Any]
QUESTIONS = (
    ("What is it?", ((64, 48),)),
    ("Which of the two is the larger one, and why?", ((64, 48), (50, 90))),
    (".", ((1, 1),)),
    ("Is it <image>, <|image_pad|>, <|image|> or <start_of_image>?", ((3000, 20),)),
    ("<image>", ((20, 1500), (1, 3))),
    (" a\n\nb", ((90, 70),)),
)
TERNARY, BINARY = "idefics3", "mllama"  # COARSE by an option of the processor; images in cross-attention
SMALL = ("training.epochs=1", "training.batch_size=8", "training.val_fraction=0.3")
BACKBONE = ("training.backbone.batch_size=4", "training.backbone.micro_batch_size=2", "training.backbone.lora.rank=2")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A family's shrunken checkpoint, written once a session."""
    root = tmp_path_factory.mktemp("downstream")

    def find(family: str) -> Path:
        if not (root / family).exists():
            write(family, root / family)
        return root / family

    return find


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions about images of odd shapes, one or two each, all of which differ."""
    place, generator = tmp_path_factory.mktemp("questions"), np.random.default_rng(0)
    for split, rounds in (("train", 4), ("test", 1)):
        lines = []
        for number, (question, sizes) in enumerate(QUESTIONS * rounds):
            names = [f"{split}{number}-{one}.png" for one in range(len(sizes))]
            for name, (width, height) in zip(names, sizes, strict=True):
                pixels = generator.integers(0, 255, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / name)
            lines.append({"id": f"{split}{number}", "question": question, "image": names, "answer": "yes"})
        (place / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


@pytest.fixture
def run(folder: Callable[[str], Path], questions: Path, tmp_path: Path) -> Run:
    """A command as a user types it, on a family's checkpoint."""

    def call(command: str, family: str, *overrides: str) -> Any:
        base = ["backbone=folder", f"backbone.path={folder(family)}", "backbone.device=cpu", "dataset=jsonl"]
        base += [f"dataset.path={questions}", f"paths.runs={tmp_path / 'runs'}", "eval.max_new_tokens=3"]
        base += ["eval.batch_size=4", "eval.num_workers=0"]
        return vovnet.run(command, [*base, *overrides])

    return call


def predictions(place: Path) -> list[dict[str, Any]]:
    """What was done to each question, without numbers that live routing rounds otherwise."""
    lines = map(json.loads, (place / "predictions.jsonl").read_text().splitlines())
    return [{key: line[key] for key in ("id", "action", "prediction", "vision_tokens", "cost")} for line in lines]


def routes_live_as_replayed(run: Run, family: str, *overrides: str) -> set[str]:
    """The actions that were taken, the same and with the same answers in both modes."""
    replayed, live = (run("eval", family, f"eval.mode={mode}", *overrides) for mode in ("replay", "live"))
    assert predictions(replayed.folder) == predictions(live.folder)
    return {line["action"] for line in predictions(live.folder)}


@pytest.mark.parametrize(("family", "space"), [(TERNARY, "ternary"), (BINARY, "binary")])
def test_a_policy_is_trained_evaluated_and_reported(run: Run, family: str, space: str, tmp_path: Path) -> None:
    actions = f"policy.action_space={space}"
    collected = run("collect", family, actions).results[0]
    assert set(collected["rows_computed"].values()) == {len(QUESTIONS)}
    trained = run("train", family, actions, *SMALL)
    assert routes_live_as_replayed(run, family, actions, "policy.lambda_cost=0") <= {"no", "coarse", "full"}
    draws = "[0.4,0.3,0.3]" if space == "ternary" else "[0.5,0,0.5]"
    named = {"policy/baseline=random_policy_matched", f"policy.baseline.target_ratios={draws}"}
    assert len(routes_live_as_replayed(run, family, actions, *named)) > 1
    run("calibrate", family, actions, "calibrate.accuracy_kept=0.5")
    run("oracle", family, actions)
    slices = run("error_slices", family, actions)
    profiled = run("profile", family, actions, "profile.warmup=1", "eval.max_samples=3")
    assert (slices.folder / "error_slices.csv").is_file()
    assert json.loads((profiled.folder / "summary.json").read_text())["vlm"]["implementation"] == "generic"
    page = vovnet.run("report", [f"runs=[{tmp_path / 'runs'}]"]).folder / "report.html"
    assert trained.folder.name in page.read_text()


def test_policies_that_look_twice_or_are_uncertain_route_live_as_replayed(run: Run) -> None:
    assert routes_live_as_replayed(run, TERNARY, "policy/baseline=cascade", "policy.baseline.threshold=0.9") == {"full"}
    entropies = sorted(
        line["entropy"] for line in _lines(run("eval", TERNARY, "policy/baseline=uncertainty_threshold"))
    )
    between = f"policy.baseline.threshold={entropies[3]}"
    looked = routes_live_as_replayed(run, TERNARY, "policy/baseline=uncertainty_threshold", between)
    assert looked == {"no", "full"}


def _lines(finished: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (finished.folder / "predictions.jsonl").read_text().splitlines()]


def test_lora_of_both_stages_adapts_the_language_model_and_loads_again(run: Run) -> None:
    keys = ("policy.action_space=binary", *SMALL, *BACKBONE)
    both = ("training.stage1_epochs=1", "training.stage1_backbone=lora", "training.stage2_backbone=lora")
    trained = run("train", TERNARY, *keys, *both)
    summary = trained.results[0]
    with _tensors(trained.folder / "backbone/adapter_model.safetensors") as weights:
        names = list(weights.keys())
    assert names
    assert all(name.startswith("base_model.model.model.text_model.") for name in names)
    policy = f"eval.checkpoint={summary['policy_file']}"
    trained_on = (*summary["backbone_overrides"], policy, "policy.action_space=binary", "policy.lambda_cost=0")
    routes_live_as_replayed(run, TERNARY, *trained_on)


def _tensors(file: Path) -> Any:
    from safetensors import safe_open

    return safe_open(file, "pt")


def test_a_model_trained_whole_is_a_folder_like_the_one_it_began_with(run: Run, folder: Callable[[str], Path]) -> None:
    keys = ("policy.action_space=binary", *SMALL, *BACKBONE)
    whole = run("train", TERNARY, *keys, "training.stage2_backbone=full")
    place, source = whole.folder / "backbone", folder(TERNARY)
    assert {path.name for path in source.iterdir()} <= {path.name for path in place.iterdir()}
    for name in ("tokenizer.json", "processor_config.json", "chat_template.jinja"):
        assert (place / name).read_bytes() == (source / name).read_bytes()
    trained_on = (*whole.results[0]["backbone_overrides"], f"eval.checkpoint={whole.results[0]['policy_file']}")
    routes_live_as_replayed(run, TERNARY, *trained_on, "policy.action_space=binary")


def test_targets_that_name_no_layer_are_refused_with_the_layers_there_are(run: Run) -> None:
    wrong = ("training.backbone.lora.targets=[query]", "training.stage2_backbone=lora", "policy.action_space=binary")
    with pytest.raises(VoVNetError, match=r"fit no layer .* down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj"):
        run("train", TERNARY, *SMALL, *BACKBONE, *wrong)


@pytest.fixture
def without_weights(folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], str]:
    """The override that chooses a family's checkpoint with weights that no one can load."""

    def choose(family: str) -> str:
        place = tmp_path / family
        shutil.copytree(folder(family), place)
        for file in place.glob("*.safetensors"):
            file.write_bytes(b"no weights")
        return f"backbone.path={place}"

    return choose


REFUSED = {
    "collect": ("collect",),
    "replay": ("eval", "policy/baseline=always_coarse"),
    "live": ("eval", "policy/baseline=cascade", "eval.mode=live"),
    "frozen": ("train", *SMALL),
    "stage1": ("train", *SMALL, *BACKBONE, "training.stage1_epochs=1"),
    "live training": ("train", *SMALL, *BACKBONE, "training.stage2_backbone=lora"),
}


@pytest.mark.parametrize("command", REFUSED.values(), ids=REFUSED)
def test_a_coarse_look_that_saves_nothing_is_refused_before_weights_are_loaded(
    run: Run, without_weights: Callable[[str], str], command: tuple[str, ...]
) -> None:
    with pytest.raises(VoVNetError, match=r"COARSE costs as much as FULL .*16 tokens .*set policy.action_space=binary"):
        run(command[0], "llava", *command[1:], without_weights("llava"))


def test_the_refusal_names_what_makes_coarse_cheaper(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "vision_budget.coarse.processor=null"
    for _ in range(2):
        with pytest.raises(VoVNetError, match=r"vision_budget.coarse.processor='\{do_image_splitting:false\}', or "):
            run("collect", TERNARY, whole)
        monkeypatch.setattr("vovnet.vlm.generic.budget.CountedBudget.largest", None)  # the verdict is remembered


def test_pruning_is_refused_before_weights_are_loaded(run: Run, without_weights: Callable[[str], str]) -> None:
    checkpoint = without_weights(TERNARY)
    for command in (
        ("eval", "policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_ratio=0.5"),
        ("eval", "policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_ratio=0.5", "eval.mode=live"),
        ("train", *SMALL, "policy.full_pruning_ratio=0.5"),
    ):
        with pytest.raises(VoVNetError, match=r"this idefics3 model cannot leave out vision tokens"):
            run(command[0], TERNARY, *command[1:], checkpoint)


def test_a_lower_resolution_keeps_the_options_of_the_processor(run: Run) -> None:
    options = "vision_budget.full.processor={do_image_splitting: false}"
    whole = run("eval", TERNARY, "policy/baseline=always_full", options).results[0]
    side = run("eval", TERNARY, "policy/baseline=resolution_scaling", options).results[0]
    assert side.avg_vision_tokens == whole.avg_vision_tokens  # a single tile each


def test_a_policy_fits_the_options_that_it_was_trained_with_alone(run: Run) -> None:
    trained = run("train", TERNARY, *SMALL).results[0]["policy_file"]
    with pytest.raises(VoVNetError, match=r"was trained with vision_budget.\{coarse,full\}.processor="):
        run("eval", TERNARY, f"eval.checkpoint={trained}", "vision_budget.full.processor={do_image_splitting: false}")


def test_the_summary_says_what_the_model_can_do(run: Run) -> None:
    keys = ("policy/baseline=always_full", "backbone.dtype=bfloat16")
    for place in (run("collect", TERNARY, *keys), run("eval", TERNARY, *keys), run("eval", TERNARY, *keys)):
        said = json.loads((place.folder / "summary.json").read_text())["vlm"]
        assert (said["model_type"], said["implementation"], said["dtype"]) == ("idefics3", "generic", "bfloat16")
        assert {"hidden", "logprobs", "nll", "train"} <= set(said["capabilities"])
        assert said["exact"]["differences"]["batch"] < 1
        assert said["prompt_order"] == "image_first"
        assert said["vision_budget"]["coarse"]["processor"] == {"do_image_splitting": False}


def test_programs_use_a_model_of_any_family(folder: Callable[[str], Path], questions: Path, tmp_path: Path) -> None:
    vlm = vovnet.load_vlm(str(folder("llava")))
    assert vlm.budget.auto
    data = vovnet.load_dataset("jsonl", path=str(questions))
    found = vovnet.collect(vlm, data, runs=tmp_path, max_new_tokens=3, num_workers=0)
    assert found.test.costs[:, 1].tolist() == found.test.costs[:, 2].tolist()  # 16 tokens an image, whatever its size
    with pytest.raises(VoVNetError, match=r"set policy.action_space=binary"):
        vovnet.train_policy(found.train, epochs=1)
    policy = vovnet.train_policy(found.train, epochs=1, action_space="binary", val_fraction=0.3)
    assert {row.baseline_name for row in vovnet.frontier(policy, found.test, lambdas=[0.0]).rows} == {
        *("", "always_full", "no_vision")
    }
    router = vovnet.Router(vlm, policy, data, max_new_tokens=3)
    reply = router("What is it?", [Image.new("RGB", (30, 40), "red"), Image.new("RGB", (1, 1))])
    assert reply.look in ("no", "full")
    assert reply.cost == (2.0 if reply.look == "full" else 0.0)


@pytest.mark.parametrize("family", [TERNARY, BINARY])
def test_a_batch_of_questions_with_one_and_two_images_is_read_as_each_alone(
    family: str, folder: Callable[[str], Path], questions: Path
) -> None:
    vlm = loaded(folder(family))
    data = vovnet.load_dataset("jsonl", path=str(questions)).split("test")
    items = [item(data, row) for row in range(len(data))]
    together, *alone = (vlm.builder.build(some, [Action.FULL]) for some in (items, *([one] for one in items)))
    logits = torch.cat([vlm.read(one, Action.FULL).logits for one in alone])
    torch.testing.assert_close(vlm.read(together, Action.FULL).logits, logits, atol=1e-4, rtol=0)
    assert (vlm.read(together, Action.FULL).prompt_tokens > vlm.read(together, Action.FULL).vision_tokens).all()
    nll = torch.cat([vlm.training_nll(one, Action.FULL) for one in alone])
    torch.testing.assert_close(vlm.training_nll(together, Action.FULL), nll, atol=1e-4, rtol=0)
    vlm.exact = replace(vlm.exact, batch=False)  # as of families whose padding is not masked everywhere
    assert torch.equal(vlm.training_nll(together, Action.FULL), nll)


def test_half_precision_routes_live_as_replayed(run: Run) -> None:
    routes_live_as_replayed(run, TERNARY, "policy/baseline=always_full", "backbone.dtype=bfloat16")


def loaded(place: Path) -> Any:
    """A checkpoint on the CPU, as its own files describe it."""
    config = settled(compose_typed("eval", ["backbone=folder", f"backbone.path={place}", "backbone.device=cpu"]))
    return load_backbone(config.backbone, config.vision_budget)


def test_names_of_images_in_a_question_stay_plain_text(folder: Callable[[str], Path], questions: Path) -> None:
    data = vovnet.load_dataset("jsonl", path=str(questions)).split("test")
    vlm = loaded(folder(TERNARY))
    sample = replace(item(data, 0)[1], question="<image><end_of_utterance>")
    batch = vlm.builder.build([(0, sample, sample.question)], [Action.FULL])
    (no,), (full,) = (vlm.builder.prompts(batch, action) for action in (Action.NO, Action.FULL))
    image = vlm.builder.tokenizer.convert_tokens_to_ids("<image>")
    assert (no.ids == image).sum() == 0
    assert (full.ids == image).sum() == full.vision_tokens == vlm.builder.tokens(sample, [Action.FULL])[0]
    assert torch.isfinite(vlm.read(batch, Action.FULL).logits).all()
