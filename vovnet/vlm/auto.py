"""Fills in what a configuration leaves to be found: type, prompt order and budget of the checkpoint itself."""

from dataclasses import replace

from vovnet.compose import rebuilt
from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig, VisionBudgetConfig
from vovnet.session import Session
from vovnet.vlm.families import fast_path
from vovnet.vlm.files import Checkpoint, find_checkpoint

TYPES = ("float32", "bfloat16", "float16")


def settled(config: RunConfig, session: Session | None = None) -> RunConfig:
    """The configuration with nothing left at ``auto``; itself where nothing was.

    Raises:
        VoVNetError: there is no such checkpoint.
    """
    backbone, budget = config.backbone, config.vision_budget
    looks = (budget.coarse.processor, budget.full.processor)
    if not (budget.auto or "auto" in (backbone.dtype, backbone.prompt_order, *looks)):
        return config
    checkpoint = find_checkpoint(backbone, session=session)
    order = "image_first" if backbone.prompt_order == "auto" else backbone.prompt_order
    dtype = own_dtype(checkpoint) if backbone.dtype == "auto" else backbone.dtype
    return rebuilt(
        config,
        backbone=replace(backbone, dtype=dtype, prompt_order=order),  # type: ignore[arg-type]  # checked against TYPES
        vision_budget=own_budget(budget, checkpoint),
    )


def own_dtype(checkpoint: Checkpoint) -> str:
    """The type in which a checkpoint's weights were saved.

    Raises:
        VoVNetError: config.json names another type.
    """
    content = checkpoint.config
    found = next(
        (one[key] for one in (content, checkpoint.text_config) for key in ("dtype", "torch_dtype") if one.get(key)),
        "float32",
    )
    if found not in TYPES:
        raise VoVNetError(
            f"{checkpoint.folder}/config.json names the type {found}; set backbone.dtype to one of {', '.join(TYPES)}."
        )
    return str(found)


def own_budget(config: VisionBudgetConfig, checkpoint: Checkpoint) -> VisionBudgetConfig:
    """The bounds with everything found that was left to be found."""
    family = fast_path(checkpoint.model_type)
    if family is not None:
        found: VisionBudgetConfig = family.found_budget(config, checkpoint)
        return found
    from vovnet.vlm.generic.budget import found_budget

    return found_budget(config, checkpoint)
