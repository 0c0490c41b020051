"""What the generic implementation can do with a checkpoint, and which of transformers' classes were not tried.

Everything is seen by doing it once: loading, three actions in a batch of two, and one step of training.
"""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from transformers import CONFIG_MAPPING, ProcessorMixin
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.compose import compose_typed, quoted
from vovnet.errors import VoVNetError, first_line
from vovnet.files import read_object
from vovnet.schema import PromptOrder
from vovnet.vlm.agreement import noise_items
from vovnet.vlm.auto import settled
from vovnet.vlm.families import FAST
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.generic.loading import load_generic
from vovnet.vlm.generic.model import GenericVLM
from vovnet.vlm.generic.processor import MissingPackageError, load_processor, named_processor
from vovnet.vlm.protocol import Batch, Decoding, Reading

SHAPES = ((672, 672), (1024, 768), (2000, 100))  # of pictures whose tokens are counted, width x height
DECODING = Decoding(max_new_tokens=2, num_beams=1, do_sample=False, temperature=1.0)
VERSION = transformers.__version__
PACKAGES = ("torchvision", "num2words")
# A family that transformers, or this package, cannot serve yet may raise any of these.
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ImportError, AssertionError, OSError)
ASK = """
import sys
sys.modules.update(dict.fromkeys({packages}))
from vovnet.vlm.generic.probe import print_needs
print_needs(sys.argv[1])
"""


@dataclass(frozen=True)
class Row:
    """What was seen of a checkpoint.

    Attributes:
        name: of its folder.
        model_type: as config.json names it.
        reason: one sentence why it does not run; empty where it does.
        coarse, full: vision tokens of pictures of ``SHAPES`` under the automatic budget.
        actions: 3, or 2 where COARSE costs as much as FULL.
        reuse: an image goes on exactly from the cache of its question; None where the two share no text.
        difference: of logits with and without reuse, in standard deviations.
        batch, gap, resume: as in ``Exact``.
        prune, train: vision tokens can be dropped; gradients reach the language model.
        needs: a package that its processor does not load without.
    """

    name: str
    model_type: str
    reason: str = ""
    coarse: tuple[int, ...] = ()
    full: tuple[int, ...] = ()
    actions: int = 0
    reuse: bool | None = None
    difference: float = math.nan
    batch: bool = False
    gap: bool = False
    resume: bool = False
    prune: bool = False
    train: bool = False
    needs: str = ""

    @property
    def fast(self) -> bool:
        """Whether the family has a fast path besides."""
        return self.model_type in FAST


def probe(paths: Sequence[Path]) -> list[Row]:
    """One row a checkpoint folder, of folders of such folders too.

    Raises:
        VoVNetError: a path holds none.
    """
    folders = [folder for path in paths for folder in _folders(path)]
    needs = _needs(folders)
    return [replace(_row(folder), needs=needs[folder]) for folder in folders]


def load(folder: Path, order: PromptOrder = "text_first") -> GenericVLM:
    """A checkpoint by the generic implementation, under the budget that it finds by itself.

    Raises:
        VoVNetError: it cannot be loaded, or its chat template does not allow this order.
    """
    path = quoted(str(folder.absolute()))
    asked = ["backbone=folder", f"backbone.path={path}", f"backbone.prompt_order={order}"]
    config = settled(compose_typed("eval", [*asked, "backbone.implementation=generic"]))
    return load_generic(config.backbone, config.vision_budget, True, None, find_checkpoint(config.backbone))


def examine(vlm: GenericVLM, name: str) -> Row:
    """What a loaded checkpoint does.

    Raises:
        VoVNetError: it gives what is no number.
    """
    batch = vlm.builder.build(noise_items(), VISUAL_ACTIONS)
    _try_actions(vlm, batch)
    budget, seen = vlm.builder.budget, dict(vlm.exact.differences)
    try:
        budget.check_coarse()
        actions = 3
    except VoVNetError:
        actions = 2
    coarse, full = ([budget.tokens(*shape, action) for shape in SHAPES] for action in (Action.COARSE, Action.FULL))
    return Row(
        name,
        str(vlm.model.config.model_type),
        coarse=tuple(coarse),
        full=tuple(full),
        actions=actions,
        reuse=vlm.exact.reuse if "reuse" in seen else None,
        difference=seen.get("reuse", math.nan),
        batch=vlm.exact.batch,
        gap=vlm.exact.gap,
        resume=vlm.exact.resume,
        prune="prune" in vlm.capabilities,
        train=_trains(vlm, batch),
    )


def untried(tried: Sequence[Row]) -> list[tuple[str, str]]:
    """The other model types of ``AutoModelForImageTextToText``, each with why none of its checkpoints was tried."""
    classes = {KNOWN[row.model_type]: row.model_type for row in tried if row.model_type in KNOWN}
    missing = sorted(set(KNOWN) - {row.model_type for row in tried})
    return [(model_type, _why(model_type, classes)) for model_type in missing]


def print_needs(folders: str) -> None:
    """Print which package the processor of each folder lacks, where ``PACKAGES`` cannot be imported; JSON both ways."""
    found = {}
    for folder, model_type in json.loads(folders).items():
        try:
            load_processor(Path(folder), model_type)
            found[folder] = ""
        except MissingPackageError as error:
            found[folder] = error.package
        except (VoVNetError, *FAILURES):  # its own row says so
            found[folder] = ""
    print(json.dumps(found))


def _folders(path: Path) -> list[Path]:
    if (path / "config.json").is_file():
        return [path]
    found = sorted(config.parent for config in path.glob("*/config.json"))
    if not found:
        raise VoVNetError(f"{path} holds no checkpoint; name a folder with a config.json, or a folder of such folders.")
    return found


def _model_type(folder: Path) -> str:
    try:
        return str(read_object(folder / "config.json").get("model_type", "?"))
    except (OSError, ValueError):  # loading says what is wrong
        return "?"


def _needs(folders: Sequence[Path]) -> dict[Path, str]:
    """Of each folder the package that its processor needs, asked in a process that has none of ``PACKAGES``."""
    asked = json.dumps({str(folder): _model_type(folder) for folder in folders})
    code = ASK.format(packages=PACKAGES)
    done = subprocess.run([sys.executable, "-c", code, asked], capture_output=True, text=True, check=False)
    if done.returncode:
        raise VoVNetError(f"what processors need cannot be found ({done.stderr.strip().splitlines()[-1]}).")
    found = json.loads(done.stdout.splitlines()[-1])
    return {folder: found[str(folder)] for folder in folders}


def _row(folder: Path) -> Row:
    try:
        try:
            vlm = load(folder)
        except VoVNetError as error:
            if "prompt_order=image_first" not in str(error):
                raise
            vlm = load(folder, "image_first")  # all that its chat template allows
        return examine(vlm, folder.name)
    except VoVNetError as error:
        reason = str(error)
    except FAILURES as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
    return Row(folder.name, _model_type(folder), reason=reason)


@torch.no_grad()
def _try_actions(vlm: GenericVLM, batch: Batch) -> None:
    text = vlm.read(batch, Action.NO)
    for action in USUAL:
        state = vlm.read(batch, action, text)
        vlm.answer([Reading(batch, action, state)], DECODING)
        for name, found in (("logits", state.logits), ("NLL", vlm.nll(state, batch.references))):
            if not found.isfinite().all():
                raise VoVNetError(f"its {name} under {action.label.upper()} are not finite.")


def _trains(vlm: GenericVLM, batch: Batch) -> bool:
    """Whether a gradient of the references' NLL reaches the language model; leaves none behind."""
    weights = [*vlm.model.get_decoder().parameters()]
    try:
        with torch.enable_grad():
            vlm.model.get_decoder().requires_grad_(True)
            torch.autograd.backward(vlm.training_nll(batch, Action.FULL).mean())
        found = [weight.grad for weight in weights if weight.grad is not None]
        return all(bool(one.isfinite().all()) for one in found) and any(bool(one.any()) for one in found)
    except (RuntimeError, NotImplementedError):  # quantised weights, or an operation without a gradient
        return False
    finally:
        vlm.model.zero_grad(set_to_none=True)
        vlm.model.requires_grad_(False)


def _why(model_type: str, classes: Mapping[str, str]) -> str:
    """Why a model type was not tried, by what transformers says of it."""
    if CONFIG_MAPPING[model_type].is_encoder_decoder:
        return "an encoder-decoder, which is out of scope"
    if (alias := classes.get(KNOWN[model_type])) is not None:
        return f"has the model class of {alias}"
    name = PROCESSOR_MAPPING_NAMES.get(model_type)
    if name is None:
        return "transformers names no processor for it"
    try:
        kind = named_processor(name)
        if kind is None or not issubclass(kind, ProcessorMixin) or "image_processor" not in kind.get_attributes():
            return f"{name} takes no images"
    except MissingPackageError:  # where it is installed, that is no reason
        return "no checkpoint was given"
    image_processors = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type)
    if image_processors and "pil" not in image_processors:
        return "its image processor needs torchvision; no checkpoint was given"
    return "no checkpoint was given"
