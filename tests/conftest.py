"""Small but genuine: shrunken Qwen3-VL and Qwen2.5-VL checkpoints and a slice of easy-VQA."""

import gc
import importlib.util
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run on every core already; before torch is imported
if os.environ.get("VOVNET_GPU") != "1":  # what is held byte for byte, and two ranks side by side, is the CPU's
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job hands that on to what tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)

from experiments.tiny_backbone.recipe import Architecture
from vovnet.data.mini.generate import SETS, ensure_mini
from vovnet.locks import Claim
from vovnet.schema import RunConfig

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

settings.register_profile("vovnet", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("vovnet")

IMAGES = 12
FEW = 300  # training images of a mini set
Configure = Callable[..., RunConfig]

SIZES = Architecture(
    hidden_size=48,
    intermediate_size=64,
    num_layers=2,
    num_heads=3,
    num_key_value_heads=1,
    vision_hidden_size=32,
    vision_intermediate_size=48,
    vision_depth=2,
    vision_heads=2,
    deepstack_layers=(0,),
    patch_size=4,
    max_side=64,
    vocab_size=300,
)


def compose_config(*overrides: str, root: str = "eval") -> RunConfig:
    """What an entry point would receive for these overrides."""
    from tests.composer import as_typed

    return as_typed(root, overrides)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first, so that no worker ends alone with one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What is imported stays: going through it again and again would take a third of the tests' time."""
    settle_garbage()


def settle_garbage() -> None:
    """Collect garbage seldom, and never among the objects that there are now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)


@pytest.fixture(scope="session", autouse=True)
def _fast_paths_are_not_compared() -> Iterator[None]:
    """Each shrunken checkpoint would be compared anew; ``tests/vlm/test_agreement.py`` is about that."""
    from vovnet.vlm import loading

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loading, "known_to_agree", lambda *_: True)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all test processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def mini_data(shared: Path) -> Path:
    """Where the mini sets are: all their test images, and of the training images as many as these tests read.

    To draw all 26,000 takes half a minute on two cores; with VOVNET_GUIDES the first command does so.
    """
    folder = shared / "data"
    if "VOVNET_GUIDES" not in os.environ:
        with Claim(shared / "mini.lock"):
            for name in SETS:
                _draw_few(name, folder / name)
    return folder


def _draw_few(name: str, folder: Path) -> None:
    """Commands find what they ask for by its stamp; each image is drawn by itself, so these are the first of all."""
    asked = compose_config(f"dataset={name}").dataset.generate
    assert asked is not None
    if not folder.exists():
        ensure_mini(name, folder, replace(asked, train_images=FEW))
        stamp = folder / "generated.json"
        stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"train": asked.train_images}))


@pytest.fixture(scope="session")
def easy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first images of easy-VQA and all questions about them, in the upstream layout."""
    spec = importlib.util.find_spec("easy_vqa")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "data"
    folder = tmp_path_factory.mktemp("easy_vqa")
    for split in ("train", "test"):
        rows = [r for r in json.loads((source / split / "questions.json").read_text()) if r[2] < IMAGES]
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "questions.json").write_text(json.dumps(rows))
        for image in range(IMAGES):
            shutil.copy(source / split / "images" / f"{image}.png", folder / split / "images")
    return folder


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3-VL with DeepStack, its tokenizer and image processor, as save_pretrained writes them."""
    from experiments.tiny_backbone.checkpoint import write_untrained

    folder = tmp_path_factory.mktemp("qwen3")
    write_untrained(folder, SIZES, ["what color is the shape? red circle yes no"], seed=0)
    return folder


@pytest.fixture(scope="session")
def qwen25(qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL: window attention in the vision tower, no DeepStack, chat template in the older file."""
    import torch
    from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from experiments.tiny_backbone.checkpoint import IMAGE_TOKENS, initialise

    folder = tmp_path_factory.mktemp("qwen25")
    tokenizer = AutoTokenizer.from_pretrained(qwen3)
    start, end, image, video = (tokenizer.convert_tokens_to_ids(t) for t in IMAGE_TOKENS)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "out_hidden_size": 48,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )
    torch.manual_seed(1)
    model = Qwen2_5_VLForConditionalGeneration(config)
    initialise(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    template = tokenizer.chat_template
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    # The layout of a whole saved processor: the image processor nested in processor_config.json.
    settings = json.loads((qwen3 / "preprocessor_config.json").read_text())
    nested = {"image_processor": settings, "processor_class": "Qwen2_5_VLProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    return folder


@pytest.fixture
def configure(easy_data: Path, qwen3: Path, tmp_path: Path) -> Configure:
    """A configuration whose runs are in this test's folder."""
    from tests.composer import small_configurations

    return small_configurations(easy_data, qwen3, tmp_path / "runs")


def rotary_flops(counter: "FlopCounterMode") -> int:
    """What computing rotary angles counts, which some versions of transformers do by a matrix product."""
    counts = counter.get_flop_counts().items()
    return sum(flops for name, operations in counts if name.endswith("rotary_emb") for flops in operations.values())
