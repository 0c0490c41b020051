"""Answers of thinking checkpoints as they are decoded: markers are seen, and what follows them is what counts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.conftest import compose_config
from tests.vlm.conftest import GREEDY
from vovnet.actions import Action
from vovnet.scoring.reasoning import COMMON, KNOWN
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import Answer
from vovnet.vlm.qwen.model import Backbone

Thinks = Callable[..., Backbone]


@pytest.fixture
def thinking(qwen3: Path, tmp_path: Path) -> Thinks:
    """The small Qwen3-VL whose tokenizer has markers, in the places of two words that it does not need."""

    def make(markers: tuple[str, str], special: bool, prompt_end: str = "", legacy: bool = False) -> Backbone:
        folder = tmp_path / "thinking"
        shutil.copytree(qwen3, folder)
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        last = len(AutoTokenizer.from_pretrained(qwen3)) - 1
        vocabulary = content["model"]["vocab"]
        for place, marker in zip((last - 1, last), markers, strict=True):
            old = next(text for text, number in vocabulary.items() if number == place)
            del vocabulary[old]
            vocabulary[marker] = place
            content["model"]["merges"] = [m for m in content["model"]["merges"] if "".join(m) != old and old not in m]
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            content["added_tokens"].append({"id": place, "content": marker, "special": special, **flags})
        path.write_text(json.dumps(content))
        if prompt_end:
            template = folder / "chat_template.jinja"
            opening = template.read_text() + prompt_end
            if legacy:  # which the processor reads first
                (folder / "chat_template.json").write_text(json.dumps({"chat_template": opening}))
            else:
                template.write_text(opening)
        config = compose_config(f"backbone.path={folder}")
        return load_backbone(config.backbone, config.vision_budget, True)

    return make


def say(backbone: Backbone, monkeypatch: pytest.MonkeyPatch, text: str, ended: bool = True) -> Answer:
    """What becomes of an answer that the model writes."""
    ids = backbone.builder.tokenizer.encode(text, add_special_tokens=False) + [backbone.end_tokens[0]] * ended
    monkeypatch.setattr(backbone, "graphs", None)
    monkeypatch.setattr(backbone, "write", lambda *_: (torch.tensor([ids]), torch.zeros(1)))
    (answer,) = backbone.decode(None, GREEDY, None, Action.NO)  # type: ignore[arg-type]
    assert answer.tokens == len(ids)
    return answer


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("markers", [COMMON, ("◁think▷", "◁/think▷"), ("[THINK]", "[/THINK]")])
def test_markers_survive_decoding_and_are_cut_before_scoring(
    thinking: Thinks, monkeypatch: pytest.MonkeyPatch, markers: tuple[str, str], special: bool
) -> None:
    backbone = thinking(markers, special)
    whole = say(backbone, monkeypatch, f"{markers[0]}no{markers[1]} yes")
    assert (whole.text, whole.final) == (f"{markers[0]}no{markers[1]} yes", "yes")
    assert say(backbone, monkeypatch, f"no{markers[1]}yes").final == "yes"
    assert say(backbone, monkeypatch, f"{markers[0]}no yes", ended=False).final is None
    assert say(backbone, monkeypatch, f"{markers[0]}no{markers[1]}").final is None
    assert say(backbone, monkeypatch, "yes", ended=False).final == "yes"


def test_a_prompt_that_opens_the_reasoning_is_known(thinking: Thinks, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = thinking(COMMON, False, prompt_end="{%- if add_generation_prompt -%}<think>\n{%- endif -%}")
    assert backbone.reasoning.opened
    assert say(backbone, monkeypatch, "red", ended=False).final is None
    assert say(backbone, monkeypatch, "blue</think>red").final == "red"
    assert say(backbone, monkeypatch, "red").final is None
    backbone.reasoning = replace(backbone.reasoning, direct=True)  # as weights that were trained here answer
    assert say(backbone, monkeypatch, "red").final == "red"
    assert say(backbone, monkeypatch, "red", ended=False).final is None


@pytest.mark.parametrize("by", ["the processor's template", "the prompt alone"])
def test_reasoning_that_another_template_opens_is_known(
    thinking: Thinks, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    opens = "{%- if add_generation_prompt -%}<thinking>\n{%- endif -%}"
    note = "{#- </thinking> -#}" if by.endswith("template") else ""
    backbone = thinking(COMMON, False, prompt_end=opens + note, legacy=by.endswith("template"))
    assert backbone.reasoning.opened
    assert say(backbone, monkeypatch, "blue</thinking>red").final == "red"
    assert say(backbone, monkeypatch, "blue").final is None


def test_other_special_tokens_are_never_shown(thinking: Thinks, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = thinking(("◁think▷", "◁/think▷"), True)
    answer = say(backbone, monkeypatch, "<|im_start|>◁think▷no<|vision_end|>◁/think▷yes<|endoftext|>")
    assert (answer.text, answer.final) == ("◁think▷no◁/think▷yes", "yes")


def test_the_packaged_model_marks_nothing() -> None:
    config = compose_config()
    backbone = load_backbone(config.backbone, config.vision_budget, True)
    assert backbone.reasoning.markers == (COMMON,)
    assert not backbone.reasoning.opened
    assert all(marks[0] not in backbone.builder.tokenizer.get_vocab() for marks in KNOWN)
