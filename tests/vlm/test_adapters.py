"""LoRA adapters: what peft trained is merged exactly, by whatever names it was saved; the rest is refused."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tests.conftest import compose_config
from vovnet.errors import VoVNetError
from vovnet.vlm.adapters import _keys
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.lora_settings import lora_settings
from vovnet.vlm.qwen.loading import load_model

Tensors = dict[str, torch.Tensor]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TEXT = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(scope="module", params=["qwen3", "qwen25"])
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


backbone_config = cache(lambda: compose_config().backbone)


def load(folder: Path, adapter: Path | None = None, dtype: str = "float32") -> Any:
    above = None if adapter is None else str(adapter)
    config = replace(backbone_config(), path=str(folder), adapter=above, dtype=dtype)
    return load_model(config, find_checkpoint(config)).eval()


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    """Of a prompt with an image, so that both towers count."""
    config = model.config
    vision = config.vision_config
    patch = 3 * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.randn(16, patch, generator=torch.Generator().manual_seed(0))
    ids = [20, config.vision_start_token_id, *[config.image_token_id] * 4, config.vision_end_token_id, 21, 22]
    grid = torch.tensor([[1, 4, 4]])
    kinds = torch.tensor([[int(token == config.image_token_id) for token in ids]])
    inputs = {"input_ids": torch.tensor([ids]), "mm_token_type_ids": kinds}
    result: torch.Tensor = model(**inputs, pixel_values=pixels, image_grid_thw=grid).logits
    return result


def train(model: Any, place: Path, **settings: Any) -> torch.Tensor:
    """Save an adapter of random matrices by peft; returns the logits with its layers beside the weights."""
    wrapped = get_peft_model(model, LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": TEXT} | settings)))
    torch.manual_seed(1)
    for weights in wrapped.parameters():
        if weights.requires_grad:
            weights.data.add_(torch.randn_like(weights), alpha=0.1)
    wrapped.save_pretrained(str(place))
    return logits(wrapped.eval())


def rewrite(place: Path, tensors: Callable[[Tensors], Tensors] = dict, **settings: Any) -> None:
    """Change an adapter's tensors and configuration; None removes a key."""
    save_file(tensors(load_file(place / WEIGHTS)), place / WEIGHTS, {"format": "pt"})
    content = json.loads((place / CONFIG).read_text()) | settings
    (place / CONFIG).write_text(json.dumps(content))


SETTINGS: dict[str, dict[str, Any]] = {
    "linear layers": {},
    "rank-stabilised": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "ranks and alphas of some layers": {
        "rank_pattern": {"q_proj": 2, r"layers.1.self_attn.v_proj": 3},
        "alpha_pattern": {"down_proj": 32},
    },
    "whole modules": {"modules_to_save": ["lm_head", "merger", "language_model.norm"]},
    "biases of adapted layers": {"target_modules": ["qkv"], "bias": "lora_only"},
    "all biases": {"bias": "all"},
    "a bias of B": {"target_modules": ["qkv"], "lora_bias": True},
    "the embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "the head": {"target_modules": ["lm_head"]},
    "a convolution": {"target_modules": ["proj"]},
    "PiSSA": {"init_lora_weights": "pissa"},
    "OLoRA": {"init_lora_weights": "olora"},
    "every linear layer": {"target_modules": "all-linear"},
    "a pattern": {"target_modules": r".*language_model.*\.(q|k)_proj"},
    "all but some": {"exclude_modules": r".*\.0\..*"},
    "one layer on purpose": {"layers_to_transform": [1], "layers_pattern": "layers"},
}


IN_BOTH = ("linear layers", "DoRA", "whole modules", "every linear layer")  # kinds that both families are tried with
MERGED = [("qwen3", name) for name in SETTINGS] + [("qwen25", name) for name in IN_BOTH]


@pytest.mark.parametrize(("family", "kind"), MERGED)
def test_what_peft_trained_is_merged(request: pytest.FixtureRequest, tmp_path: Path, family: str, kind: str) -> None:
    folder, settings = request.getfixturevalue(family), SETTINGS[kind]
    base = load(folder)
    before = logits(base)
    beside = train(base, tmp_path, **settings)
    assert (beside - before).abs().max() > 0.01
    torch.testing.assert_close(logits(load(folder, tmp_path)), beside, rtol=1e-4, atol=1e-4)


def names(pattern: str, by: str) -> Callable[[Tensors], Tensors]:
    """Bring every name from one form to another."""
    return lambda tensors: {re.sub(pattern, by, name): tensor for name, tensor in tensors.items()}


LANGUAGE = r"^base_model\.model\.model\.language_model\."
SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "text-only, and transformers before 4.52": names(LANGUAGE, "base_model.model.model."),
    "nested as LLaVA": names(LANGUAGE, "base_model.model.language_model.model."),
    "the inner model": names(LANGUAGE, "base_model.model.language_model."),
    "the bare language model": names(LANGUAGE, "base_model.model."),
    "without peft's prefix": names(r"^base_model\.model\.", ""),
    "peft's prefix twice": names("^", "base_model.model."),
    "with an adapter's name": names(r"lora_([AB])\.", r"lora_\1.default."),
    "with another adapter's name": names(r"lora_([AB])\.", r"lora_\1.vqa-2.weights."),
    "compiled": names(r"^base_model\.model\.", "base_model.model._orig_mod."),
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_names_of_other_tools_mean_the_same(
    folder: Path, tmp_path: Path, spelled: Callable[[Tensors], Tensors]
) -> None:
    beside = train(load(folder), tmp_path, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 2})
    rewrite(tmp_path, spelled)
    torch.testing.assert_close(logits(load(folder, tmp_path)), beside, rtol=1e-4, atol=1e-4)


def test_an_adapter_of_both_towers_of_old_transformers(qwen25: Path, tmp_path: Path) -> None:
    """With patterns that name modules as they were called when it was trained."""
    targets, ranks = r".*(layers|blocks)\.\d+\..*(q_proj|qkv)", {"model.visual.blocks.1.attn.qkv": 2}
    beside = train(load(qwen25), tmp_path, target_modules=targets, rank_pattern=ranks, alpha_pattern=ranks)
    old = {"target_modules": r"^(model\.layers|visual\.blocks)\..*(q_proj|qkv)$"}
    old |= {key: {"visual.blocks.1.attn.qkv": 2} for key in ("rank_pattern", "alpha_pattern")}
    rewrite(tmp_path, lambda t: names(r"model\.visual", "visual")(names(LANGUAGE, "base_model.model.model.")(t)), **old)
    torch.testing.assert_close(logits(load(qwen25, tmp_path)), beside, rtol=1e-4, atol=1e-4)


def test_whole_modules_by_old_names(folder: Path, tmp_path: Path) -> None:
    beside = train(load(folder), tmp_path, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    saved = names(r"lm_head\.", "lm_head.modules_to_save.default.")
    rewrite(
        tmp_path,
        lambda t: saved(names(LANGUAGE, "base_model.model.model.")(t)),
        modules_to_save=["model.embed_tokens", "lm_head"],
    )
    torch.testing.assert_close(logits(load(folder, tmp_path)), beside, rtol=1e-4, atol=1e-4)


def test_text_only_names_may_leave_out_the_vision_tower(
    qwen25: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its feed-forward layers have the same names as the language model's; a text-only model has no others."""
    beside = train(load(qwen25), tmp_path, target_modules=r".*language_model.*\.gate_proj")
    rewrite(tmp_path, target_modules=["gate_proj"])
    with pytest.raises(VoVNetError, match=r"leave out 2 layers .* \(model.visual.blocks.0.mlp.gate_proj\)"):
        load(qwen25, tmp_path)
    rewrite(tmp_path, names(LANGUAGE, "base_model.model.model."))
    torch.testing.assert_close(logits(load(qwen25, tmp_path)), beside, rtol=1e-4, atol=1e-4)
    assert "leave out the vision tower (model.visual.blocks.0.mlp.gate_proj)" in caplog.text


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_one_of_two_tied_matrices_is_adapted(tied: Path, tmp_path: Path, target: str) -> None:
    """Merged into both, it would change what words mean as well as what is answered."""
    adapter, whole = tmp_path / "adapter", tmp_path / "whole"
    beside = train(load(tied), adapter, target_modules=[target])
    merged = load(tied, adapter)
    torch.testing.assert_close(logits(merged), beside, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(whole)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (whole / name).write_bytes((tied / name).read_bytes())
    torch.testing.assert_close(logits(load(whole)), beside, rtol=1e-4, atol=1e-4)


@pytest.fixture
def tied(qwen3: Path, tmp_path: Path) -> Iterator[Path]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig.from_pretrained(qwen3)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    torch.manual_seed(3)
    Qwen3VLForConditionalGeneration(config).save_pretrained(tmp_path / "tied")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "tied" / name).write_bytes((qwen3 / name).read_bytes())
    return tmp_path / "tied"


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def also(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: torch.zeros(4, 48)}


REFUSED: dict[str, tuple[Callable[[Tensors], Tensors], dict[str, Any], str]] = {
    "layers left out": (
        without("layers.1."),
        {},
        r"leave out 3 layers .* \(model.language_model.layers.1.mlp.down_proj",
    ),
    "a kind of layer left out": (without("v_proj"), {}, r"leave out 2 layers .*v_proj\)"),
    "no B": (without("layers.0.self_attn.q_proj.lora_B"), {}, "lack .*q_proj.lora_B.weight"),
    "no A": (without("lora_A"), {}, "lack .*lora_A.weight"),
    "a value that is none": (
        lambda found: found | {name: t * torch.nan for name, t in found.items() if "layers.1.self_attn.q_proj" in name},
        {},
        "hold NaN or infinity in .*layers.1.self_attn.q_proj",
    ),
    "no matrices": (without("lora_"), {}, "holds no LoRA matrices"),
    "a layer that is nowhere": (
        also("base_model.model.model.text_model.layers.0.q_proj.lora_A.weight"),
        {},
        "no layer model.text_model.layers.0.q_proj",
    ),
    "a layer too many": (names(r"layers\.1\.", "layers.7."), {}, "no layer model.language_model.layers.7"),
    "fused layers": (names("q_proj", "qkv_proj"), {}, "no layer .*qkv_proj"),
    "a tensor of something else": (also("base_model.model.value_head.weight"), {}, "no place for value_head.weight"),
    "a layer that is not named": (
        {}.__or__,
        {"target_modules": ["q_proj", "v_proj"]},
        "adapts .*down_proj, which its target_modules do not name",
    ),
    "two adapters": (
        lambda t: t | names("lora_A", "lora_A.other")({k: v.clone() for k, v in t.items()}),
        {},
        "twice under two names",
    ),
    "another rank": (dict, {"r": 2}, r"as \[4, .*\], their configuration .* need \[2, "),
    "another size": (lambda t: {k: v[:, :-1].contiguous() for k, v in t.items()}, {}, r"hold .* as \[.*need \["),
    "DoRA without magnitudes": (dict, {"use_dora": True}, "lack .*lora_magnitude_vector"),
    "a whole module that is not there": (dict, {"modules_to_save": ["lm_head"]}, "lack lm_head.weight"),
    "settings that exclude each other": (dict, {"use_dora": True, "lora_bias": True}, "contradicts itself"),
    "a broken pattern": (dict, {"target_modules": "(q_proj"}, "has a pattern that is none"),
}


@pytest.mark.parametrize(("change", "settings", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused(
    qwen3: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], settings: dict[str, Any], sentence: str
) -> None:
    train(load(qwen3), tmp_path)
    rewrite(tmp_path, change, **settings)
    with pytest.raises(VoVNetError, match=sentence) as caught:
        load(qwen3, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


OTHER_KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "prompt tuning": ({"peft_type": "PROMPT_TUNING"}, "peft_type=PROMPT_TUNING; only LoRA"),
    "IA3": ({"peft_type": "IA3"}, "peft_type=IA3; only LoRA"),
    "no kind": ({"peft_type": None}, "peft_type=None; only LoRA"),
    "a rank in words": ({"r": "four"}, "r='four'"),
    "no rank": ({"r": 0}, "r=0"),
    "an alpha of nothing": ({"lora_alpha": 0}, "lora_alpha=0"),
    "an alpha in words": ({"lora_alpha": "8"}, "lora_alpha='8'"),
    "no targets": ({"target_modules": None}, r"target_modules=None \(Field required"),
    "activated LoRA": ({"alora_invocation_tokens": [1]}, r"alora_invocation_tokens=\[1\] \(which cannot be merged"),
    "layers copied": ({"layer_replication": [[0, 2]]}, "layer_replication="),
    "bare parameters": ({"target_parameters": ["experts"]}, "target_parameters="),
    "tokens alone": ({"trainable_token_indices": [5]}, "trainable_token_indices="),
    "LoftQ, which changes the weights": ({"init_lora_weights": "loftq"}, "init_lora_weights='loftq'"),
    "a key of tomorrow": ({"use_new_lora": True}, "use_new_lora=True"),
    "one of tomorrow's keys, unused": ({"use_new_lora": False, "new_config": None}, ""),
}


@pytest.mark.parametrize(("settings", "sentence"), OTHER_KINDS.values(), ids=OTHER_KINDS.keys())
def test_adapters_of_other_kinds_are_refused(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    said = {
        "peft_type": "LORA",
        "r": 4,
        "target_modules": ["q_proj"],
        "peft_version": "0.21.2",
        "task_type": "CAUSAL_LM",
    }
    (tmp_path / CONFIG).write_text(json.dumps(said | settings))
    if not sentence:
        assert lora_settings(tmp_path).r == 4
        return
    with pytest.raises(VoVNetError, match=sentence) as caught:
        lora_settings(tmp_path)
    assert "\n" not in str(caught.value)


def test_old_vision_names_are_no_adapter_of_a_newer_family(qwen3: Path, tmp_path: Path) -> None:
    train(load(qwen3), tmp_path, target_modules=["qkv"])
    rewrite(tmp_path, names(r"model\.visual", "visual"))
    with pytest.raises(VoVNetError, match=r"adapt visual.blocks.0.attn.qkv, a name of transformers before 4.52"):
        load(qwen3, tmp_path)


@pytest.mark.parametrize("zero", ["lora_A", "lora_B"])
def test_an_adapter_that_changes_nothing_is_reported(
    qwen3: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, zero: str
) -> None:
    train(load(qwen3), tmp_path, target_modules=["q_proj"])
    rewrite(tmp_path, lambda found: {n: t * (zero not in n) for n, t in found.items()})
    torch.testing.assert_close(logits(load(qwen3, tmp_path)), logits(load(qwen3)), rtol=0, atol=0)
    assert "are zero and change nothing" in caplog.text


def test_names_that_the_model_has_are_meant_as_they_are(tmp_path: Path) -> None:
    """Llama 4's language model has its layers where older LLaVAs have theirs under another name."""
    name = "language_model.model.layers.0.self_attn.q_proj"
    tensors = {f"base_model.model.{name}.lora_{part}.weight": torch.ones(2, 2) for part in "AB"}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    assert _keys(tmp_path, {name}) == ({key: key for key in tensors}, {name: name})
    assert _keys(tmp_path)[1] == {"model.language_model.layers.0.self_attn.q_proj": name}
