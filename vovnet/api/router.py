"""A policy and its model at work: questions in, answers out, each looked at as closely as it is worth."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from vovnet.actions import Action
from vovnet.api.explanation import Explanation, explain
from vovnet.api.outcomes import VLM, Dataset, load_dataset, with_options
from vovnet.compose import compose_typed
from vovnet.data import prompt_text
from vovnet.data.sample import AskedImage, HeldImage, ImageRef, PlainSet, Sample
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import branch_backbone
from vovnet.outcomes.looks import check_looks
from vovnet.outcomes.units import split_name, unit_of
from vovnet.policy import route
from vovnet.policy.protocol import Policy, checked
from vovnet.schema import DatasetConfig, RunConfig
from vovnet.scoring import Score
from vovnet.session import Session
from vovnet.vlm.auto import settled
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.files import find_checkpoint

Picture = str | Path | bytes | Image.Image  # bytes: an encoded image


@dataclass(frozen=True)
class Reply:
    """An answer, and what it took.

    Attributes:
        answer: what the model says after any reasoning; None where it gives no answer.
        look: the label of the look that it was answered from, such as ``no``, ``coarse`` or ``full``.
        cost: of all looks that were taken; 1 is a maximal FULL image.
        vision_tokens: image tokens that entered the language model.
        full_tokens: those that FULL would have taken.
        prompt_tokens: of the prompt that was answered, its image tokens included.
        generated_tokens: of the answer, its end token included.
        seconds: of the batch, divided by its questions.
    """

    answer: str | None
    look: str
    cost: float
    vision_tokens: int
    full_tokens: int
    prompt_tokens: int
    generated_tokens: int
    seconds: float


class Router:
    """Answers questions as a policy decides.

    Args:
        vlm: the model that the policy was trained with.
        policy: one of ``train_policy`` or ``load_policy``, or one of your own.
        dataset: whose prompt is used; None takes the question as it is.
        options: other values for keys under ``eval``, such as ``max_new_tokens``.

    Raises:
        VoVNetError: it is no policy, or exists in replay only, such as the oracle.
    """

    def __init__(self, vlm: VLM, policy: Policy, dataset: Dataset | None = None, **options: Any) -> None:
        base = compose_typed("eval", [])
        own = with_options(base.eval, options)
        data = (dataset or load_dataset()).config
        config = replace(base, backbone=vlm.config, vision_budget=vlm.budget, dataset=data, eval=own)
        self._begin(config, checked(policy), Session())

    @classmethod
    def of(cls, config: RunConfig, policy: Policy, session: Session) -> "Router":
        """A router over what a command's configuration names.

        Raises:
            VoVNetError: the policy exists in replay only, or the model cannot take one of its looks.
        """
        made = cls.__new__(cls)
        made._begin(config, policy, session)
        return made

    def _begin(self, config: RunConfig, policy: Policy, session: Session) -> None:
        route.check_live(config, policy)
        if config.dataset.prompt_template is None:
            raise VoVNetError(
                f"dataset={config.dataset.name} is a mixture, whose parts have prompts of their own; name one of "
                f"{', '.join(config.dataset.parts)}."
            )
        self.looks, self._data = policy.looks, config.dataset
        self._route = live_route(settled(config, session), policy, session)

    def __call__(self, question: str, images: Picture | Sequence[Picture], options: Sequence[str] = ()) -> Reply:
        """Answer one question about one or several images, which are opened only if the policy looks at them."""
        return self.answer([(question, images, options)])[0]

    def ask(self, question: str, images: Picture | Sequence[Picture], options: Sequence[str] = ()) -> Explanation:
        """Answer one question, and show what every look of the policy's menu would have answered."""
        return ask_route(self._route, self._data, question, images, options)

    def answer(
        self,
        questions: Sequence[tuple[str, Picture | Sequence[Picture], Sequence[str]]],
        max_new_tokens: int | None = None,
    ) -> list[Reply]:
        """Answer a batch of (question, images, options).

        Args:
            max_new_tokens: of each answer; None takes ``eval.max_new_tokens``.
        """
        import torch

        router = self._route
        if max_new_tokens is not None:
            router = replace(router, decoding=replace(router.decoding, max_new_tokens=max_new_tokens))
        samples = [_sample(place, *one) for place, one in enumerate(questions)]
        items = list(zip(range(len(samples)), samples, _prompts(self._data, samples), strict=True))
        with torch.inference_mode():
            routed = router(items)
        chosen, tokens = routed.chosen, routed.paid("vision_tokens")
        return [
            Reply(
                answer=chosen.answer[row],
                look=str(routed.labels[row]),
                cost=float(routed.cost[row]),
                vision_tokens=int(tokens[row]),
                full_tokens=router.backbone.builder.tokens(sample, [Action.FULL])[0],
                prompt_tokens=int(chosen.prompt_tokens[row]),
                generated_tokens=int(chosen.generated_tokens[row]),
                seconds=float(chosen.seconds[row]),
            )
            for row, sample in enumerate(samples)
        ]

    def forget(self) -> None:
        """Keep no image of the questions that were answered."""
        self._route.backbone.builder.forget()

    def free_memory(self) -> None:
        """Drop buffers of the device after its memory ran out."""
        import torch

        self._route.backbone.free_memory()
        torch.cuda.empty_cache()


def live_route(config: RunConfig, policy: Policy, session: Session) -> route.Router:
    """A policy and its model, ready to answer; ``config`` is settled.

    Raises:
        VoVNetError: the model cannot take one of the policy's looks.
    """
    checkpoint = find_checkpoint(config.backbone, session=session)
    check_looks(config, checkpoint, policy.looks)
    if policy.card is not None:  # it has learned costs in a unit
        kind, device = split_name(policy.card.cost_unit)
        config = replace(config, policy=replace(config.policy, cost_unit=kind, latency_device=device))
    backbone = branch_backbone(config, session)
    decoding, unit = decoding_of(config.eval), unit_of(config, checkpoint, policy.looks)
    return route.Router(backbone, policy, decoding, _unjudged, config.eval.seed, unit)


def ask_route(
    router: route.Router,
    data: DatasetConfig,
    question: str,
    images: Picture | Sequence[Picture],
    options: Sequence[str],
) -> Explanation:
    """Answer one question, and once more from every look of the policy's menu.

    Raises:
        VoVNetError: an image cannot be read.
    """
    import torch

    sample = _sample(0, question, images, options)
    with torch.inference_mode():
        return explain(sample, router, _prompts(data, [sample])[0])


def _prompts(data: DatasetConfig, samples: Sequence[Sample]) -> list[str]:
    asked = PlainSet()
    asked.config, asked.name = data, data.name
    return [prompt_text(asked, one) for one in samples]


def _unjudged(index: int, answer: str | None) -> Score:
    """There is no reference."""
    return Score(0.0, answer is not None)


def _sample(place: int, question: str, images: Picture | Sequence[Picture], options: Sequence[str]) -> Sample:
    pictures = [images] if isinstance(images, Picture) else list(images)
    return Sample(
        id=str(place),
        question=question,
        images=tuple(_image(place, number, one) for number, one in enumerate(pictures)),
        answers=("",),
        group=str(place),
        category="",
        options=tuple(options),
    )


def _image(place: int, number: int, picture: Picture) -> ImageRef:
    if isinstance(picture, bytes):  # one name whatever the question, so that a batch sees a shared image once
        return HeldImage("image", Path("image"), picture)
    if not isinstance(picture, Image.Image):
        path = Path(picture).expanduser()
        return AskedImage(str(path), path)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    name = f"image {number + 1} of question {place + 1}"
    return HeldImage(name, Path(name), buffer.getvalue())
