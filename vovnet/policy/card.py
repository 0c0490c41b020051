"""What a policy file says of itself: the backbone, the data and the options that it was trained with."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vovnet.actions import ACTION_SPACES, Action, name_of
from vovnet.errors import VoVNetError
from vovnet.files import parse_object
from vovnet.outcomes.units import unit_of
from vovnet.policy.features import feature_width
from vovnet.schema import (
    ActionSpace,
    DatasetConfig,
    Dtype,
    FeatureMode,
    Kept,
    NonNegative,
    ObjectiveConfig,
    Positive,
    Procedure,
    PromptOrder,
    PruningMode,
    Resolution,
    RunConfig,
    Seed,
)
from vovnet.schema.policy import OBJECTIVES
from vovnet.vlm.files import Checkpoint, backbone_label
from vovnet.vlm.reading import READING, reading_facts

FORMAT = 2
# Entries that files had not before there was another value.
NEWER = {"processor": "", "procedure": "one_step", "cost_unit": "tokens", "looks": ""}
CARD, CHECKSUM = "vovnet", "sha256"  # entry of the file's metadata, and in it
PER_RUN = ("seed", "save_every")  # options of a training that its repetitions may differ in
UNKNOWN = "unknown"  # data set of a policy whose file does not say what it was trained on


@dataclass(frozen=True)
class PolicyCard:
    """What a policy file holds apart from the weights.

    Attributes:
        backbone: name of the backbone, for people.
        fingerprint: of the backbone's files; the head reads that backbone's hidden states and no other's.
        hidden_size: units of the head's hidden layer; ``width``: number of features.
        lambda_cost: the lambda of training; None when the objective knows none.
        prompt_order, coarse, full: under which the branches' scores were learned; resolutions are
            (long side, max pixels).
        data_fingerprint, data_config: of the training split; the configuration as JSON, so that an evaluation
            can look for its own samples there.
        dtype, prompts: under which the text pass was read.
        bounded: the head's values are probabilities; None in files that do not say, where the objective tells.
        chat_template, tokenizer, pictures: digests of how questions and images were read (``backbone.reading``); empty
            in files that do not say.
        full_pruning_ratio, full_pruning_mode: what FULL meant; no mode where all tokens were kept.
        processor: JSON of what else bounds COARSE and FULL, tokens and options of the image processor; often empty.
        cost_unit: of the costs that it learned from; tokens where it learned from none.
        procedure: whether it looks once, or again by what it has seen.
        looks: JSON of a menu that is neither ternary nor binary.
        training_config: the training's options as JSON, and the objective's; empty where nobody knows them.
    """

    backbone: str
    fingerprint: str
    feature_mode: FeatureMode
    action_space: ActionSpace
    objective: str
    hidden_size: Positive
    width: Positive
    lambda_cost: NonNegative | None
    straight_through: bool | None
    seed: Seed
    dataset: str
    data_fingerprint: str
    data_config: str
    prompt_order: PromptOrder
    coarse: tuple[Positive, Positive]
    full: tuple[Positive, Positive]
    dtype: Dtype
    prompts: tuple[str, ...]
    full_pruning_ratio: Kept = 1.0
    full_pruning_mode: PruningMode | None = None
    training_config: str = ""
    chat_template: str = ""
    tokenizer: str = ""
    pictures: str = ""
    bounded: bool | None = None
    processor: str = ""
    procedure: Procedure = "one_step"
    cost_unit: str = "tokens"
    looks: str = ""
    format: int = FORMAT

    @cached_property
    def menu(self) -> tuple[Action, ...]:
        """The looks that it chooses among, cheapest first."""
        if not self.looks:
            return ACTION_SPACES[self.action_space]
        return tuple(Action.said(look) for look in json.loads(self.looks))

    @property
    def space(self) -> str:
        """The menu's name: that of an action space, or the looks'."""
        if self.looks and self.action_space == "ternary":
            return name_of(self.menu)
        return self.action_space

    @cached_property
    def training(self) -> str | None:
        """A name for all that was trained alike, whatever the seed; None where nobody knows.

        What a row of results.csv says of a policy besides, such as its features and actions, is not in it.
        """
        if not self.training_config:
            return None
        options = {k: value for k, value in parse_object(self.training_config).items() if k not in PER_RUN}
        others = self.data_fingerprint, self.hidden_size, self.coarse, self.full, self.prompts
        reading = [self.processor, *(getattr(self, name) for name in READING)]
        return hashlib.sha256(
            json.dumps([options, *others, *filter(None, reading)], sort_keys=True).encode()
        ).hexdigest()[:8]


def make_card(config: RunConfig, checkpoint: Checkpoint, width: int, data_fingerprint: str = "") -> PolicyCard:
    """Describe a head that is trained under a configuration."""
    bounded, knows_lambda = objective_traits(config.policy.objective)
    mixture = config.policy.objective.name == "mixture"
    learns_costs = config.policy.cost_unit != "tokens" and (knows_lambda or config.policy.procedure == "sequential")
    coarse, full = config.vision_budget.coarse, config.vision_budget.full
    reading = reading_facts(config.backbone, checkpoint)
    return PolicyCard(
        backbone=backbone_label(config.backbone),
        fingerprint=checkpoint.fingerprint,
        feature_mode=config.policy.feature_mode,
        action_space=config.policy.action_space,
        looks="" if config.menu in ACTION_SPACES.values() else json.dumps([look.content for look in config.menu]),
        objective=config.policy.objective.name,
        hidden_size=config.policy.hidden_size,
        width=width,
        lambda_cost=config.policy.lambda_cost if knows_lambda else None,
        straight_through=config.policy.use_straight_through if mixture else None,
        seed=config.training.seed,
        dataset=config.dataset.name,
        data_fingerprint=data_fingerprint,
        data_config=json.dumps(config.dataset.facts(), sort_keys=True),
        prompt_order=config.backbone.prompt_order,
        coarse=(coarse.long_side, coarse.max_pixels),
        full=(full.long_side, full.max_pixels),
        processor=_further_bounds(coarse, full),
        dtype=config.backbone.dtype,
        prompts=_prompts(config.dataset),
        full_pruning_ratio=config.policy.full_pruning_ratio,
        full_pruning_mode=config.policy.full_pruning_mode if config.policy.full_pruning_ratio < 1 else None,
        training_config=json.dumps(
            asdict(config.training) | ({"objective": asdict(config.policy.objective)} if knows_lambda else {}),
            sort_keys=True,
        ),
        chat_template=reading["chat_template"],
        tokenizer=reading["tokenizer"],
        pictures=reading["pictures"],
        bounded=bounded,
        procedure=config.policy.procedure,
        cost_unit=unit_of(config, checkpoint, config.menu).name if learns_costs else "tokens",
    )


def objective_traits(config: ObjectiveConfig) -> tuple[bool, bool]:
    """Whether the head's values are probabilities, and whether training knows lambda; see ``Objective``."""
    if config.code is None:
        return config.name == "value", config.name != "value"
    part = config.code.part()
    return bool(getattr(part, "bounded", False)), bool(getattr(part, "knows_lambda", True))


def as_card(path: Path, described: dict[str, Any]) -> PolicyCard:
    """The card that was written as ``asdict(card)``.

    Raises:
        VoVNetError: of another format. KeyError, TypeError, ValueError: not a card.
    """
    if described.get("format") != FORMAT:
        raise VoVNetError(
            f"policy file {path} has format {described.get('format')}, this version reads {FORMAT}; train it again."
        )
    facts = {name: value for name, value in described.items() if name != CHECKSUM}
    card = PolicyCard(**facts | {name: tuple(described[name]) for name in ("coarse", "full", "prompts")})
    if card.bounded is None and card.objective not in OBJECTIVES:
        raise ValueError(f"it does not say what the values of the objective {card.objective} are")
    if card.training_config:
        parse_object(card.training_config)
    card.menu  # noqa: B018
    return _adapter().validate_python(asdict(card))


@cache
def _adapter() -> TypeAdapter[PolicyCard]:
    return TypeAdapter(PolicyCard)


def check_backbone(path: Path, card: PolicyCard, checkpoint: Checkpoint, other: bool = False) -> None:
    """Refuse a head that was trained on another backbone's hidden states.

    Args:
        other: allow it where these are as wide.
    """
    if card.fingerprint == checkpoint.fingerprint:
        return
    if not other:
        raise VoVNetError(
            f"policy file {path} belongs to backbone {card.backbone} (fingerprint {card.fingerprint[:12]}), but the "
            f"backbone in use has fingerprint {checkpoint.fingerprint[:12]}; train a policy for this backbone, choose "
            "the backbone it belongs to, or set eval.other_backbone=true to try it where hidden states are as wide."
        )
    width = feature_width(card.feature_mode, int(checkpoint.text_config["hidden_size"]))
    if card.width != width:
        raise VoVNetError(
            f"policy file {path} of backbone {card.backbone} reads {card.width} features, this backbone gives {width}; "
            "eval.other_backbone=true needs a backbone whose hidden states are as wide."
        )


def _further_bounds(coarse: Resolution, full: Resolution) -> str:
    """What bounds the looks beside pixels, as JSON; empty where nothing does."""
    found = {"coarse": coarse.facts(), "full": full.facts()}
    for facts in found.values():
        del facts["long_side"], facts["max_pixels"]
    return json.dumps(found, sort_keys=True) if any(found.values()) else ""


def _prompts(config: DatasetConfig) -> tuple[str, ...]:
    """All prompt templates of a set or mixture, and whether images stand in them."""
    own = {template for template in (config.prompt_template, config.open_template) if template is not None}
    own = {f"{template} (interleaved)" for template in own} if config.interleave else own
    return tuple(sorted(own.union(*(_prompts(part) for part in config.parts.values()))))
