"""torch.compile around parts of the model changes the last bits only."""

import pytest
import torch

from tests.vlm.conftest import Load, build
from vovnet.actions import VISUAL_ACTIONS
from vovnet.vlm.qwen import attention
from vovnet.vlm.qwen.attention import compile_parts, uncompile


def test_compiled_parts_yield_what_they_did(load: Load, items: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and run as traced: what an actual compiler would be given. Batches of several sizes and lengths."""
    monkeypatch.setattr(torch.nn.Module, "compile", _traced)
    backbone = load()

    def logits() -> list[torch.Tensor]:
        found = []
        for part in (items[:5], items[5:6], items[6:16]):
            batch = build(backbone, part)
            with torch.inference_mode():
                text = backbone.text_pass(batch)
                looks = [backbone.look(batch, action, text).logits for action in VISUAL_ACTIONS]
            found += [text.logits, *looks]
        return found

    plain = logits()
    parts = compile_parts(backbone.model)
    kinds = {type(part).__name__ for part in parts}
    assert {kind for kind in kinds if kind.endswith(attention.TEXT)}
    assert {kind for kind in kinds if kind.endswith("VisionBlock")}
    try:
        traced = logits()
    finally:
        uncompile(parts)
    for one, other in zip(plain, traced, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def _traced(module: torch.nn.Module) -> None:
    module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")
