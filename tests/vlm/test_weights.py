"""Every tensor of a folder is used, and config.json decides neither what is read nor how attention is computed."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.vlm.test_adapters import Tensors, backbone_config, load, logits, names
from tests.vlm.test_loading import EMBEDDING, Damage, settings, tensors
from vovnet.errors import VoVNetError
from vovnet.vlm.files import find_checkpoint, open_checkpoint
from vovnet.vlm.generic.loading import load_model as load_generic_model
from vovnet.vlm.qwen.loading import load_model

SAME = {"rtol": 0, "atol": 0}


@pytest.fixture(params=["qwen3", "qwen25"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path / "copy"))


@pytest.fixture
def folder(qwen3: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen3, tmp_path / "copy"))


def spelled(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Save weights by other names; those of today's transformers are the beginning."""
    model = load(folder)
    save_file(change(dict(model.state_dict())), folder / "model.safetensors", {"format": "pt"})


def nested(found: Tensors) -> Tensors:
    text = names(r"^model\.language_model\.", "language_model.model.")(
        names("^lm_head", "language_model.lm_head")(found)
    )
    return names(r"^model\.visual", "visual")(text)


SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "today's": dict,
    "transformers before 4.52": lambda t: names(r"^model\.language_model", "model")(
        names(r"^model\.visual", "visual")(t)
    ),
    "nested as LLaVA": nested,
    "compiled": names("^", "_orig_mod."),
}


@pytest.mark.parametrize("change", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_older_names_mean_the_same_weights(
    either: Path, change: Callable[[Tensors], Tensors], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    expected = logits(load(either))
    spelled(either, change)
    caplog.clear()
    caplog.set_level("INFO")
    model = load(either)
    torch.testing.assert_close(logits(model), expected, **SAME)
    assert ("tensors have older names" in caplog.text) == (change is not dict)
    model.save_pretrained(tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(either / name, tmp_path / "again")
    torch.testing.assert_close(logits(load(tmp_path / "again")), expected, **SAME)


def in_two(listed: Callable[[dict[str, str]], object]) -> Damage:
    """Weights in two files, and an index that is changed."""

    def damage(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        places = {name: f"model-0000{1 + (number > 3)}-of-00002.safetensors" for number, name in enumerate(found)}
        for file in set(places.values()):
            save_file({n: t for n, t in found.items() if places[n] == file}, folder / file, {"format": "pt"})
        listed(places)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return damage


def beside(name: str, content: object) -> Damage:
    return lambda folder: (folder / name).write_text(json.dumps(content))


def text(**values: object) -> Damage:
    """Set keys of config.json's text_config."""
    return lambda folder: settings(
        text_config=json.loads((folder / "config.json").read_text())["text_config"] | values
    )(folder)


def vision(**values: object) -> Damage:
    return lambda folder: settings(
        vision_config=json.loads((folder / "config.json").read_text())["vision_config"] | values
    )(folder)


def copied(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "model-old.safetensors")


PROJECTION = "model.language_model.layers.0.self_attn.q_proj.weight"
MODELOPT = {"quantization": {"quant_algo": "FP8"}}
REFUSED: dict[str, tuple[Damage, str]] = {
    "a tensor of another model": (tensors(lambda t: t.update(mtp=torch.zeros(2))), r"no place for mtp \(1 of"),
    "a scale that is left over": (
        tensors(lambda t: t.update({f"{PROJECTION}_scale": torch.ones(1)})),
        f"no place for {PROJECTION}_scale",
    ),
    "a layer too many": (
        tensors(lambda t: t.update({PROJECTION.replace("0", "2"): t[PROJECTION].clone()})),
        "no place for .*layers.2",
    ),
    "FP8 without scales": (
        tensors(lambda t: t.update({PROJECTION: t[PROJECTION].to(torch.float8_e4m3fn)})),
        "q_proj.weight as F8_E4M3, and config.json names no quantization_config",
    ),
    "integers": (tensors(lambda t: t.update({PROJECTION: t[PROJECTION].to(torch.int8)})), "q_proj.weight as I8"),
    "two names for one": (
        tensors(lambda t: t.update({"model.embed_tokens.weight": t[EMBEDDING].clone()})),
        "holds model.language_model.embed_tokens.weight, which model.safetensors holds too",
    ),
    "two models": (copied, "holds lm_head.weight, which model-old.safetensors holds too"),
    "a file that the index does not list": (
        in_two(lambda places: places.pop("lm_head.weight")),
        "holds lm_head.weight, which .* does not list",
    ),
    "an index that names too much": (
        in_two(lambda places: places.update(more="model-00001-of-00002.safetensors")),
        "names more, and .* does not hold it",
    ),
    "an index that confuses files": (
        in_two(lambda places: places.update({"lm_head.weight": "model-00002-of-00002.safetensors"})),
        "names lm_head.weight, and",
    ),
    "an index of nothing": (beside("model.safetensors.index.json", {}), "holds no weight_map"),
    "ModelOpt": (
        settings(quantization_config={"quant_method": "modelopt", "quant_algo": "FP8"}),
        "quantised by quant_method=modelopt, which is not supported",
    ),
    "ModelOpt in a file of its own": (
        beside("hf_quant_config.json", MODELOPT),
        "hf_quant_config.json says that the weights are quantised by quant_algo=FP8",
    ),
    "an unknown form": (
        settings(quantization_config={"quant_method": ["x"]}),
        r"quant_method=\['x'\], which is not supported",
    ),
    "a form without a name": (settings(quantization_config={"bits": 4}), "quant_method=None, which is not supported"),
    "a form in the language model's part": (
        text(quantization_config={"quant_method": "modelopt"}),
        "quant_method=modelopt",
    ),
    "a DeepStack level that is not there": (
        vision(deepstack_visual_indexes=[7]),
        r"describes deepstack_visual_indexes=\[7\], the vision tower has 2 layers",
    ),
    "a form that is no object": (settings(quantization_config="fp8"), "quantization_config that is no object"),
    "an adapter in the same folder": (
        beside("adapter_config.json", {"base_model_name_or_path": "other/model"}),
        "holds an adapter",
    ),
    "more layers": (
        text(num_hidden_layers=10**9),
        "describes num_hidden_layers=1000000000, but the weights hold 2 layers",
    ),
    "one layer more": (text(num_hidden_layers=3), "describes num_hidden_layers=3, but the weights hold 2 layers"),
    "more vision layers": (vision(depth=10**9), "describes depth=1000000000, but the weights hold 2"),
    "more DeepStack": (vision(deepstack_visual_indexes=[0] * 1000), "describes deepstack_visual_indexes=1000"),
    "a wider model": (text(hidden_size=10**6), "has shape .* config.json describes"),
    "a larger vocabulary": (text(vocab_size=10**10), r"describes \[10000000000, 48\]"),
    "a vocabulary beyond counting": (text(vocab_size=10**18), "cannot be loaded .config.json"),
    "a longer feed-forward part": (text(intermediate_size=10**12), "config.json describes"),
    "wider images": (vision(hidden_size=10**6), "config.json describes"),
    "larger patches": (vision(patch_size=10**6), "config.json describes"),
    "fewer heads than none": (text(num_key_value_heads=-1), "cannot be loaded .config.json"),
    "a size in words": (text(hidden_size="large"), "cannot be loaded .config.json"),
}


@pytest.mark.parametrize(("damage", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_read_or_not_there_is_refused(folder: Path, damage: Damage, sentence: str) -> None:
    damage(folder)
    with pytest.raises(VoVNetError, match=sentence) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_class_leaves_out_is_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rotary frequencies, which checkpoints held before transformers 4.32."""
    old = "model.language_model.layers.0.self_attn.rotary_emb.inv_freq"
    tensors(lambda t: t.update({old: torch.ones(8)}))(folder)
    caplog.set_level("INFO")
    load(folder)
    assert f"leaves out 1 tensors ({old})" in caplog.text


@pytest.mark.parametrize("equal", [True, False], ids=["equal", "different"])
def test_a_head_beside_a_tied_embedding(folder: Path, equal: bool, caplog: pytest.LogCaptureFixture) -> None:
    settings(tie_word_embeddings=True)(folder)
    found = load_file(folder / "model.safetensors")
    head = found[EMBEDDING if equal else "lm_head.weight"].clone()
    tensors(lambda t: t.update({"lm_head.weight": head}))(folder)
    caplog.set_level("INFO")
    model = load(folder)
    torch.testing.assert_close(model.lm_head.weight.data, head, **SAME)
    torch.testing.assert_close(model.get_input_embeddings().weight.data, found[EMBEDDING], **SAME)
    assert ("lm_head.weight is the same matrix" in caplog.text) == equal


@pytest.fixture(params=[load_model, load_generic_model], ids=["qwen", "generic"])
def load_by(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    """Loads a folder as the fast path and as the generic implementation do."""

    def loaded(folder: Path) -> Any:
        config = replace(backbone_config(), path=str(folder))
        return request.param(config, find_checkpoint(config))

    return loaded


@pytest.mark.parametrize(("outer", "inner"), [(True, None), (True, False), (None, True), (False, True)])
def test_whichever_tie_flag_counts_no_head_is_drawn_at_random(
    either: Path, load_by: Callable[[Path], Any], outer: bool | None, inner: bool | None
) -> None:
    """transformers 5.23 heeds the outer flag alone in Qwen3-VL and either one in Qwen2.5-VL."""
    settings(tie_word_embeddings=outer)(either)
    text(tie_word_embeddings=inner)(either)
    stored = load_file(either / "model.safetensors")["lm_head.weight"]
    torch.testing.assert_close(load_by(either).lm_head.weight.data, stored, **SAME)
    tensors(lambda t: t.pop("lm_head.weight"))(either)
    if outer or "qwen2_5_vl" in (either / "config.json").read_text():
        model = load_by(either)
        assert model.lm_head.weight is model.get_input_embeddings().weight
    else:
        with pytest.raises(VoVNetError, match=r"lack 1 tensors \(lm_head\.weight\)"):
            load_by(either)


@pytest.mark.parametrize("metadata", [None, {"format": "np"}, {"format": "mlx"}, {"made by": "another tool"}], ids=str)
def test_weights_load_whatever_their_file_says_of_its_maker(
    folder: Path, load_by: Callable[[Path], Any], metadata: dict[str, str] | None
) -> None:
    """Only some tools write `format: pt`, as transformers does."""
    found = load_file(folder / "model.safetensors")
    save_file(found, folder / "model.safetensors", metadata)
    held = load_by(folder).state_dict()
    assert all(torch.equal(held[name], weights) for name, weights in found.items())


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("place", ["text_config", "vision_config", None])
def test_attention_is_the_users_choice(
    folder: Path, key: str, place: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    wish = {key: "kernels-community/flash-attn"}
    {"text_config": text, "vision_config": vision, None: settings}[place](**wish)(folder)
    model = load(folder)
    parts = [model, model.model, model.model.language_model, model.model.visual]
    assert {part.config._attn_implementation for part in parts} == {"sdpa"}
    assert (
        "asks for attention by kernels-community/flash-attn; backbone.attn_implementation=sdpa is used" in caplog.text
    )


def test_no_other_file_is_read_because_a_configuration_says_so(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"no weights")
    (folder / "adapter_model.bin").write_bytes(b"no weights")
    expected = logits(load(folder))
    settings(transformers_weights="adapter_model.bin", fusion_config={"patch_embeddings": True})(folder)
    torch.testing.assert_close(logits(load(folder)), expected, **SAME)


def in_fp8(found: Tensors) -> Tensors:
    """The language model's projections in blocks of 16 by 16, each with a scale."""
    done = dict(found)
    for name, weights in found.items():
        if ".language_model.layers." in name and name.endswith("_proj.weight"):
            rows, columns = weights.shape
            blocks = weights.reshape(rows // 16, 16, columns // 16, 16)
            scales = blocks.abs().amax(dim=(1, 3)) / 448
            done[name] = (blocks / scales[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
            done[f"{name}_scale_inv"] = scales
    return done


FP8 = {
    "quant_method": "fp8",
    "weight_block_size": [16, 16],
    "activation_scheme": "dynamic",
    "modules_to_not_convert": ["lm_head", "model.visual"],
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fp8_weights_are_scaled_where_no_gpu_is(folder: Path, dtype: str) -> None:
    """And all of one type: transformers leaves them in that of their scales."""
    found = load_file(folder / "model.safetensors")
    codes = in_fp8(found)
    tensors(lambda t: t.update(codes))(folder)
    settings(quantization_config=FP8)(folder)
    model = load(folder, dtype=dtype)
    assert {weights.dtype for weights in model.state_dict().values()} == {getattr(torch, dtype)}
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(weights.float(), found[name].float(), rtol=0.07, atol=0.01)
    assert torch.isfinite(logits(model.float())).all()


@pytest.mark.parametrize(
    ("method", "module", "install"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 16}, "gptqmodel", "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel", "gptqmodel optimum"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes", r"'vovnet\[bitsandbytes\]'"),
        ({"load_in_4bit": True}, "bitsandbytes", r"'vovnet\[bitsandbytes\]'"),
        ({"quant_method": "compressed-tensors"}, "compressed_tensors", r"'vovnet\[compressed-tensors\]'"),
    ],
)
def test_a_package_that_lacks_is_named(folder: Path, method: dict[str, Any], module: str, install: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    settings(quantization_config=method)(folder)
    with pytest.raises(VoVNetError, match=rf"pip install {install}\)"):
        load(folder)


def test_a_folder_is_refused_before_anything_is_built(folder: Path) -> None:
    """Reports and tables name a folder too, and load nothing."""
    text(num_hidden_layers=10**9)(folder)
    with pytest.raises(VoVNetError, match="but the weights hold 2 layers"):
        open_checkpoint(folder)
