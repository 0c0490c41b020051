"""Checkpoint folders: what is whole loads as it was saved, what is damaged is refused with one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from tests.conftest import Configure
from vovnet.errors import VoVNetError
from vovnet.vlm.loading import load_backbone

Damage = Callable[[Path], object]


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """Save the folder's weights again after a change."""

    def damage(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", {"format": "pt"})

    return damage


def settings(**values: object) -> Damage:
    """Set keys of config.json; None removes one."""

    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | values
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))

    return damage


def cut(name: str, kept: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:kept])


def flipped(folder: Path) -> None:
    """One bit of the header that says where each tensor lies."""
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[20] ^= 0x80
    (folder / "model.safetensors").write_bytes(content)


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_parts(folder: Path) -> None:
    """An index that names a part which was not downloaded."""
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = {name: f"model-0000{1 + (i > 3)}-of-00002.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def more_tokens(folder: Path) -> None:
    """A tokenizer that was extended without the model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<{number}>" for number in range(5000)])
    tokenizer.save_pretrained(folder)


EMBEDDING = "model.language_model.embed_tokens.weight"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "weights cut short": (cut("model.safetensors", 5000), "cannot be loaded"),
    "weights empty": (cut("model.safetensors", 0), "cannot be loaded"),
    "a flipped bit in the header": (flipped, "cannot be loaded"),
    "a tensor missing": (tensors(lambda t: t.pop("model.visual.merger.linear_fc1.weight")), "lack 1 tensors"),
    "all of another model": (
        tensors(lambda t: [t.update({f"x.{k}": t.pop(k)}) for k in list(t)]),
        "lack [0-9]+ tensors",
    ),
    "another shape": (tensors(lambda t: t.update({EMBEDDING: t[EMBEDDING][:, :-1].contiguous()})), "cannot be loaded"),
    "a part missing": (in_parts, "cannot be loaded"),
    "pickled weights only": (as_pickle, r"no \*.safetensors weights"),
    "configuration cut short": (cut("config.json", 40), "config.json is not valid JSON"),
    "configuration of nothing": (lambda f: (f / "config.json").write_text("[]"), "it is no JSON object"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "another architecture": (settings(model_type="llama"), "cannot ask about images"),
    "the other family": (settings(model_type="qwen2_5_vl"), "cannot be loaded|lack [0-9]+ tensors"),
    "no image token": (settings(image_token_id=None), "lacks image_token_id"),
    "no vision tower": (settings(vision_config={}), "no vision_config.patch_size"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "lacks a tokenizer"),
    "no file of a tokenizer": (
        lambda f: [path.unlink() for path in f.glob("*token*")],
        r"lacks a tokenizer \(tokenizer.json\)",
    ),
    "an image token without a row": (settings(image_token_id=10**9), "image_token_id is 1000000000"),
    "tokens without a row": (more_tokens, "but the tokenizer's last is"),
    "a template that reaches out": (
        lambda f: (f / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}"),
        r"chat template .* cannot be rendered \(access to attribute '__class__'",
    ),
    "a template that is none": (
        lambda f: (f / "chat_template.jinja").write_text("{% for x in %}"),
        "chat template .* cannot be rendered",
    ),
    "tokenizer cut short": (cut("tokenizer.json", 100), "lacks a tokenizer"),
    "no image processor": (lambda f: (f / "preprocessor_config.json").unlink(), "image processor"),
}


@pytest.fixture
def folder(qwen3: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen3, tmp_path / "copy"))


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_folder_is_refused(configure: Configure, folder: Path, damage: Damage, sentence: str) -> None:
    damage(folder)
    config = configure(f"backbone.path={folder}")
    with pytest.raises(VoVNetError, match=sentence) as caught:
        load_backbone(config.backbone, config.vision_budget)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_beside_a_model_is_never_run(configure: Configure, folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / "modeling.py").write_text(f"open({str(mark)!r}, 'w')\nclass Model: ...\n")
    settings(auto_map={"AutoModelForImageTextToText": "modeling.Model", "AutoConfig": "modeling.Model"})(folder)
    config = configure(f"backbone.path={folder}")
    load_backbone(config.backbone, config.vision_budget)
    assert not mark.exists()


def test_one_matrix_for_input_and_output_is_saved_and_loaded_once(configure: Configure, folder: Path) -> None:
    """As in the published Qwen3-VL-2B, whose files hold no lm_head."""
    config = Qwen3VLConfig.from_pretrained(folder)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    torch.manual_seed(3)
    model = Qwen3VLForConditionalGeneration(config)
    model.save_pretrained(folder)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    run = configure(f"backbone.path={folder}")
    loaded = load_backbone(run.backbone, run.vision_budget).model
    torch.testing.assert_close(loaded.lm_head.weight, model.lm_head.weight, rtol=0, atol=0)
    torch.testing.assert_close(loaded.lm_head.weight, loaded.get_input_embeddings().weight, rtol=0, atol=0)


def test_weights_in_several_files_are_the_same_weights(configure: Configure, folder: Path) -> None:
    run = configure(f"backbone.path={folder}")
    one = load_backbone(run.backbone, run.vision_budget)
    (folder / "model.safetensors").unlink()
    one.model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    several = load_backbone(run.backbone, run.vision_budget)
    assert several.fingerprint != one.fingerprint  # of files, not of meaning
    for name, weights in one.state_dict().items():
        torch.testing.assert_close(several.state_dict()[name], weights, rtol=0, atol=0)
