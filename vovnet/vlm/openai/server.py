"""One question to the server, and what it says."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openai import APIError, APIStatusError, OpenAI

from vovnet.errors import VoVNetError, first_line
from vovnet.schema import BackboneConfig

KEY = "OPENAI_API_KEY"  # environment variable; servers of one's own often want none
PLACES = {"image_first": ("image", "text"), "text_first": ("text", "image"), "sandwich": ("text", "image", "text")}


@dataclass(frozen=True)
class Said:
    """An answer of the server.

    Attributes:
        ended: by an end token, and not for want of room.
        prompt_tokens, tokens: of prompt and answer, as the server counts them.
        log_prob: of the answer's tokens, nats; NaN without log-probabilities.
        first: log-probabilities of the likeliest first tokens, falling; empty without.
    """

    text: str
    ended: bool
    prompt_tokens: int
    tokens: int
    log_prob: float
    first: tuple[float, ...]


class Server:
    """A client of the configured model; the openai package repeats requests that fail for a while."""

    def __init__(self, config: BackboneConfig) -> None:
        assert config.base_url is not None
        assert config.model is not None
        self.model, self.url, self.order = config.model, config.base_url, PLACES[config.prompt_order]
        key = os.environ.get(KEY) or "none"
        self._client = OpenAI(base_url=config.base_url, api_key=key, max_retries=config.retries, timeout=config.timeout)

    def ask(self, text: str, images: Sequence[str], max_tokens: int, top: int) -> Said:
        """Ask greedily.

        Args:
            images: data URLs.
            top: log-probabilities of each token's likeliest alternatives; 0 asks for none.

        Raises:
            VoVNetError: the server does not answer, or counts no tokens.
            APIStatusError: it refuses the request (4xx).
        """
        parts: dict[str, list[Any]] = {
            "text": [{"type": "text", "text": text}],
            "image": [{"type": "image_url", "image_url": {"url": url}} for url in images],
        }
        places = self.order if images else ("text",)
        content: Any = [part for place in places for part in parts[place]]
        more: Any = {"logprobs": True, "top_logprobs": top} if top else {}
        try:
            found = self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": content}],
                max_tokens=max_tokens,
                temperature=0,
                **more,
            )
        except APIStatusError as error:
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                raise
            raise self.failed(error) from error
        except APIError as error:
            raise self.failed(error) from error
        return self._said(found)

    def failed(self, error: Exception) -> VoVNetError:
        """The one sentence about a server that does not answer."""
        return VoVNetError(
            f"the server at {self.url} does not answer for {self.model} ({first_line(error)[:200]}); see that it runs "
            f"and that {KEY} is its key, and run the same command again: what is stored is not asked again."
        )

    def _said(self, found: Any) -> Said:
        if not found.choices or found.usage is None:
            raise VoVNetError(
                f"the server at {self.url} gives no answer with token counts (choices, usage), which are the cost; "
                "choose another server."
            )
        choice = found.choices[0]
        tokens = (choice.logprobs.content or []) if choice.logprobs else []
        return Said(
            text=(choice.message.content or "").strip(),
            ended=choice.finish_reason != "length",
            prompt_tokens=found.usage.prompt_tokens,
            tokens=found.usage.completion_tokens,
            log_prob=sum(token.logprob for token in tokens) if tokens else math.nan,
            first=tuple(sorted((top.logprob for top in tokens[0].top_logprobs), reverse=True)) if tokens else (),
        )
