"""Private names of other libraries: which ones the product uses, and that they do what it expects of them."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AttentionInterface
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from tests.commands import ROOT

OFFICIAL = {"_exit"}  # documented in spite of its underscore: os._exit


def _chosen_attention() -> None:
    """A configuration's ``_attn_implementation`` chooses among what is registered, also after a model was made."""
    called = []

    def attend(module: nn.Module, query: torch.Tensor, *rest: object, **more: object) -> tuple[torch.Tensor, None]:
        called.append(type(module).__name__)
        return query.transpose(1, 2), None

    AttentionInterface.register("attention_of_a_test", attend)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8, "vocab_size": 8}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    config = Qwen3VLTextConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, rope_parameters=rope)
    model = Qwen3VLTextModel(config)
    model.config._attn_implementation = "attention_of_a_test"
    model(input_ids=torch.tensor([[1, 2]]))
    assert called == ["Qwen3VLTextAttention"]


def _compilation_undone() -> None:
    """``Module.compile`` keeps what it made in ``_compiled_call_impl``; None gives the plain call back."""
    part = nn.Linear(2, 2)
    part.compile(backend=lambda *_: pytest.fail("it is compiled"))
    assert part._compiled_call_impl is not None
    part._compiled_call_impl = None
    assert part(torch.zeros(1, 2)).shape == (1, 2)


def _recompile_limit() -> None:
    """How often a piece of code is compiled anew has no name in ``torch.compiler``."""
    with torch._dynamo.config.patch(recompile_limit=64):
        assert torch._dynamo.config.recompile_limit == 64
    assert callable(torch._dynamo.reset)


# At most five, each with what the product relies on.
ALLOWED: dict[str, Callable[[], None]] = {
    "_attn_implementation": _chosen_attention,
    "_compiled_call_impl": _compilation_undone,
    "_dynamo": _recompile_limit,
}


def private(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Each private name that is read, imported or asked of a parent class, and whether a definition may be its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parent = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super"
            yield node.attr, not parent
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(("vovnet", "experiments")):
            for part in [*(node.module or "").split("."), *(alias.name for alias in node.names)]:
                yield part, False


def defined(tree: ast.AST) -> Iterator[str]:
    """The names that this code gives something itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def foreign(sources: list[str]) -> set[str]:
    """Private names in these sources that none of them defines."""
    trees = [ast.parse(source) for source in sources]
    own = {name for tree in trees for name in defined(tree)}
    used = {(name, may) for tree in trees for name, may in private(tree) if name.startswith("_")}
    return {name for name, may in used if not name.startswith("__") and not (may and name in own)} - OFFICIAL


def test_no_other_private_name_is_used() -> None:
    files: list[Path] = [path for top in ("vovnet", "experiments") for path in (ROOT / top).rglob("*.py")]
    assert foreign([path.read_text(encoding="utf-8") for path in files]) <= set(ALLOWED)
    assert len(ALLOWED) <= 5


@pytest.mark.parametrize(
    "source",
    ["model._impl()", "from json._decoder import x", "from json import _x", "def _x(self): super()._x()"],
)
def test_a_private_name_is_found(source: str) -> None:
    assert foreign([source])


def test_names_of_its_own_are_none() -> None:
    assert not foreign(["from vovnet.parts import _x\nself._here = 1\nother._here", "def _f(): ...", "x._f"])


@pytest.mark.parametrize("name", ALLOWED)
def test_the_library_does_what_the_name_promises(name: str) -> None:
    ALLOWED[name]()
