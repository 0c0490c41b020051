"""From a configuration to a server's model: what it offers is found out by asking it."""

import logging
from typing import Any

from PIL import Image

from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.errors import VoVNetError, first_line
from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.decoding import reasoning_of
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.generic.budget import CountedBudget
from vovnet.vlm.generic.processor import load_processor
from vovnet.vlm.openai.builder import MessageBuilder
from vovnet.vlm.protocol import VLM
from vovnet.vlm.pruning import Pruning
from vovnet.vlm.reading import reading_of

log = logging.getLogger(__name__)
TOPS = (20, 5)  # likeliest tokens that are asked for; some servers tell fewer


def load_served(
    config: BackboneConfig, budget: VisionBudgetConfig, pruning: Pruning | None, checkpoint: Checkpoint
) -> VLM:
    """Ask the server whether it is there, what it tells, and whether it reads images in the sizes that we send.

    Raises:
        VoVNetError: the openai package is missing, the server does not answer or refuses, or it makes other tokens of
            our images than the configured processor.
    """
    try:
        import openai
    except ImportError as error:
        raise VoVNetError("backbone=openai needs the openai package; run `pip install 'vovnet[openai]'`.") from error
    from vovnet.vlm.openai.model import ServedVLM
    from vovnet.vlm.openai.server import Server

    if pruning is not None:
        raise VoVNetError("a server leaves out no vision tokens; set policy.full_pruning_ratio=1.0.")
    reading = reading_of(config, checkpoint)
    builder = MessageBuilder(CountedBudget(budget, checkpoint, reading.resample))
    tokenizer = load_processor(checkpoint.folder, checkpoint.model_type).tokenizer
    reasoning, hidden = reasoning_of(tokenizer, reading.tail)
    server = Server(config)
    try:
        top = _told(server)
        checked = {"top_logprobs": top, "sizes": _sizes(server, builder)}
    except openai.APIStatusError as error:
        raise VoVNetError(
            f"the server at {server.url} refuses to answer for {server.model} ({first_line(error)[:200]}); see "
            "backbone.model, and that the model takes images."
        ) from error
    if not top:
        log.warning("the server tells no log-probabilities: there are no entropies, margins and answer probabilities")
    merge = checkpoint.vision_config.get("spatial_merge_size")
    area = merge**2 if isinstance(merge, int) else 1
    special = tuple(str(tokenizer.added_tokens_decoder[token]) for token in sorted(hidden))
    return ServedVLM(
        server, builder, checkpoint.fingerprint, reasoning, top, config.concurrency, area, special, checked
    )


def _told(server: Any) -> int:
    """Of how many tokens the server tells log-probabilities; 0 for none, also where it accepts the wish in silence."""
    import openai

    for top in TOPS:
        try:
            return min(top, len(server.ask("Hello", (), 1, top).first))
        except openai.APIStatusError:
            continue
    server.ask("Hello", (), 1, 0)  # it was not for the log-probabilities
    return 0


def _sizes(server: Any, builder: MessageBuilder) -> dict[str, int]:
    """Tokens that the server adds to a prompt for a large image under each look; markers around it included.

    Raises:
        VoVNetError: the looks differ otherwise than by the processor's count.
    """
    side = builder.budget.config.full.long_side
    picture = Image.new("RGB", (side, round(side * 0.75)), "gray")
    alone = server.ask("Hello", (), 1, 0).prompt_tokens
    added, counted = dict[Action, int](), dict[Action, int]()
    for action in VISUAL_ACTIONS:
        added[action] = server.ask("Hello", (builder.url(picture, action),), 1, 0).prompt_tokens - alone
        counted[action] = builder.budget.tokens(*picture.size, action)
    beside = {added[action] - counted[action] for action in VISUAL_ACTIONS}
    if len(beside) > 1 or min(beside) < 0:
        said = " and ".join(f"{added[a]} for {a.label.upper()}, not {counted[a]}" for a in VISUAL_ACTIONS)
        raise VoVNetError(
            f"the server adds other numbers of tokens than backbone.processor counts ({said}): it sizes images itself; "
            "start it with the processor's least and most pixels (vLLM: --mm-processor-kwargs), or name its processor."
        )
    return {action.label: added[action] for action in VISUAL_ACTIONS}
