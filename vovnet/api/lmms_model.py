"""VoVNet as a model of lmms-eval: ``python -m lmms_eval --model vovnet --model_args policy=FOLDER,… --tasks …``."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from PIL import Image

from vovnet.api.outcomes import VLM, Dataset, load_dataset, load_vlm
from vovnet.api.policies import load_policy
from vovnet.api.router import Reply, Router
from vovnet.compose import compose_typed
from vovnet.errors import VoVNetError
from vovnet.options import groups
from vovnet.policy.protocol import Policy
from vovnet.results.setting import make_policy
from vovnet.session import Session

log = logging.getLogger(__name__)


class RoutedModel(lmms):  # type: ignore[misc]  # lmms-eval is untyped
    """A policy and its backbone behind lmms-eval's interface of simple models.

    A question is the task's context string, after its images. Answers are greedy; of a task's ``generation_kwargs``,
    ``max_new_tokens`` and ``until`` hold. The share of each look and the average cost are logged, and stand in
    lmms-eval's results under ``throughput`` (``avg_cost``, ``avg_rate_full``).

    Args:
        policy: a folder with a trained policy, or the name of a baseline, such as ``always_full``.
        backbone: an option of ``conf/backbone``, a folder, or an id of the hub.
        lambda_cost: accuracy that one maximal FULL image is worth.
        batch_size: questions that are answered together.
        device, dtype: of the backbone.
        max_new_tokens: of tasks that do not say.
        routing: a file that takes one JSON line per question: task, document, answer, look, cost.

    Raises:
        VoVNetError: an argument that there is not, or the policy is of another model.
    """

    is_simple = True

    def __init__(
        self,
        policy: str = "always_full",
        backbone: str = "tiny",
        lambda_cost: float = 0.05,
        batch_size: int | str = 1,
        device: str | None = None,
        dtype: str | None = None,
        max_new_tokens: int = 32,
        routing: str | None = None,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown or not str(batch_size).isdigit():
            wrong = f"the argument {min(unknown)}" if unknown else f"batch_size={batch_size}"
            raise VoVNetError(
                f"the lmms-eval model vovnet does not take {wrong}; --model_args takes policy, backbone, lambda_cost, "
                "dtype, max_new_tokens and routing, and --batch_size a number."
            )
        asked = {"device": device and device.partition(":")[0], "dtype": dtype}
        vlm = load_vlm(str(backbone), **{key: value for key, value in asked.items() if value})
        self.batch = int(batch_size)
        self.most, self.routing = int(max_new_tokens), routing
        bare = Dataset(load_dataset("jsonl", prompt_template="{question}", open_template=None).config)
        self.router = Router(vlm, _policy(str(policy), vlm, float(lambda_cost)), bare, max_new_tokens=self.most)

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answer questions about images, each looked at as closely as the policy decides."""
        lengths = [int(one.args[1].get("max_new_tokens", self.most)) for one in requests]
        if any(one.args[1].get("do_sample") or one.args[1].get("temperature") for one in requests):
            log.warning("tasks ask for sampled answers; VoVNet's are greedy")
        replies: dict[int, Reply] = {}
        for length in sorted(set(lengths)):
            rows = [row for row, asked in enumerate(lengths) if asked == length]
            for begin in range(0, len(rows), self.batch):
                part = rows[begin : begin + self.batch]
                questions = [(requests[row].args[0], self._images(requests[row]), ()) for row in part]
                replies |= zip(part, self.router.answer(questions, length), strict=True)
        found = [replies[row] for row in range(len(requests))]
        texts = [_until(one.answer or "", request.args[1]) for one, request in zip(found, requests, strict=True)]
        self._say(requests, found, texts)
        return [
            GenerationResult(text, TokenCounts(output_tokens=one.generated_tokens))
            for text, one in zip(texts, found, strict=True)
        ]

    def _images(self, request: Instance) -> list[Image.Image]:
        """The images of a request.

        Raises:
            VoVNetError: it shows something else, or nothing.
        """
        _, _, visual, doc, task, split = request.args
        shown = visual(self.task_dict[task][split][doc]) if visual else []
        if not shown or not all(isinstance(one, Image.Image) for one in shown):
            what = f"a {type(shown[0]).__name__}" if shown else "nothing"
            raise VoVNetError(f"document {doc} of {task} shows {what}; VoVNet answers questions about images only.")
        return list(shown)

    def _say(self, requests: Sequence[Instance], replies: Sequence[Reply], texts: Sequence[str]) -> None:
        """Log the looks and costs, for lmms-eval's results too."""
        count, looks = len(replies), Counter(one.look for one in replies)
        rates = {f"rate_{look.label}": looks[look.label] / count for look in self.router.looks}
        means = {
            "cost": sum(one.cost for one in replies) / count,
            "vision_tokens": sum(one.vision_tokens for one in replies) / count,
        }
        seconds, tokens = sum(one.seconds for one in replies), sum(one.generated_tokens for one in replies)
        log_metrics(seconds, tokens, tokens / max(seconds, 1e-9), {**means, **rates})
        if self.routing is not None:
            with Path(self.routing).expanduser().open("a", encoding="utf-8") as file:
                for request, reply, text in zip(requests, replies, texts, strict=True):
                    facts = {"task": request.task_name, "doc_id": request.doc_id, "answer": text, "look": reply.look}
                    facts |= {"cost": reply.cost, "vision_tokens": reply.vision_tokens}
                    file.write(json.dumps(facts, ensure_ascii=False) + "\n")

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Not offered: a policy decides how an answer is generated."""
        raise VoVNetError("VoVNet generates answers; choose tasks with output_type generate_until.")

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not offered: a policy decides about one question."""
        raise VoVNetError("VoVNet answers single questions; choose tasks with output_type generate_until.")


def _until(answer: str, kwargs: dict[str, Any]) -> str:
    """An answer up to the first of a task's ends."""
    ends = kwargs.get("until") or []
    for end in [ends] if isinstance(ends, str) else ends:
        answer = answer.split(end)[0] if end else answer
    return answer


def _policy(name: str, vlm: VLM, lambda_cost: float) -> Policy:
    """A trained policy, or a baseline by its name."""
    if name not in groups()["policy/baseline"]:
        return load_policy(name, vlm, lambda_cost=lambda_cost)
    return make_policy(compose_typed("eval", [f"policy/baseline={name}"]), Session())
