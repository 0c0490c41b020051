"""Token ids of texts from outside, in which nothing is read as a control token."""

import json
import re
from collections.abc import Sequence
from typing import Any

MARKUP = re.compile(r"\S*[<\[|◁].*[>\]|▷]\S*", re.DOTALL)  # <think>, <|im_end|>, [INST], ◁think▷


def encode_user_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts from outside; what looks like an added token, special or not, stays plain characters.

    ``split_special_tokens`` alone would let through added tokens that are not marked as special, such as Qwen's
    ``<think>`` and ``<tool_call>``.
    """
    found = _encoded(tokenizer, texts)
    added = control_tokens(tokenizer).keys()
    if all(added.isdisjoint(ids) for ids in found):
        return found
    plain = _without_added_tokens(tokenizer)
    return [
        ids if added.isdisjoint(ids) else [int(token) for token in plain.encode(text, add_special_tokens=False).ids]
        for text, ids in zip(texts, found, strict=True)
    ]


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Added tokens by their ids, but for plain text such as the runs of line breaks among Gemma's."""
    added = tokenizer.added_tokens_decoder.items()
    return {number: str(token) for number, token in added if token.special or MARKUP.fullmatch(str(token))}


def holds_control_token(tokenizer: Any, text: str) -> bool:
    """Whether a tokenizer would read a control token out of a text."""
    return any(token in text for token in control_tokens(tokenizer).values())


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    # The library beneath, text by text: what transformers does around it takes longer than the words, and so does
    # its thread pool.
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # "split special tokens"; transformers sets all three anew in every call
    backend.no_truncation()
    backend.no_padding()
    return [backend.encode(text, add_special_tokens=False).ids for text in texts]


def _without_added_tokens(tokenizer: Any) -> Any:
    """The same tokenizer with nothing but its vocabulary and merges. Seldom needed, and so not kept."""
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(content | {"added_tokens": []}))
