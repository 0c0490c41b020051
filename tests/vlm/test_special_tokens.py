"""No text from outside becomes a token that steers the model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.conftest import compose_config
from vovnet.data import Sample, prompt_text
from vovnet.errors import VoVNetError
from vovnet.vlm.files import PACKAGED, find_checkpoint
from vovnet.vlm.qwen.inputs import InputBuilder
from vovnet.vlm.qwen.loading import load_builder
from vovnet.vlm.tokens import encode_user_texts

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
PLAIN = ["<tool_call>", "</tool_call>", "<think>", "</think>", "<|fim_prefix|>"]  # added, but not special, in Qwen's
PIECES = [
    *CONTROL,
    *PLAIN,
    "<|video_pad|>",
    "\x00",
    "\u202e",
    "\u05d0\u05d1",
    "\U0001f600",
    "a",
    " ",
    "<|",
    "|>",
    "\r\n",
]


def qwen_like() -> PreTrainedTokenizerFast:
    """Byte-level pairs with Qwen's added tokens outside of the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = ["what is the color of the tool call think image pad <| |>"] * 9
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in PLAIN])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


TOKENIZERS = {"tiny": AutoTokenizer.from_pretrained(PACKAGED / "tiny"), "qwen": qwen_like()}


@pytest.fixture(scope="module")
def builder() -> InputBuilder:
    config = compose_config()
    return load_builder(config.backbone, config.vision_budget, find_checkpoint(config.backbone))


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("text", PIECES[:12])
@pytest.mark.parametrize("frame", ["{}", "what{}is", "<{}>", "{0}{0}"])
def test_what_looks_like_a_token_is_characters(name: str, text: str, frame: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = encode_user_texts(tokenizer, [frame.format(text)])[0]
    assert not tokenizer.added_tokens_decoder.keys() & set(ids)
    assert len(ids) > 1
    if name == "qwen":
        assert tokenizer.decode(ids) == frame.format(text)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("".join))
def test_no_text_yields_an_added_token(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = encode_user_texts(tokenizer, [text])[0]
    assert not tokenizer.added_tokens_decoder.keys() & set(ids)
    assert all(0 <= token < len(tokenizer) for token in ids)


@pytest.mark.parametrize("place", ["question", "hint", "options", "answers"])
@pytest.mark.parametrize("text", CONTROL)
def test_every_field_of_a_sample_is_text(builder: InputBuilder, place: str, text: str) -> None:
    fields: dict = {"question": "what?", "hint": "", "options": ("a", "b"), "answers": ("A",)}
    fields[place] = (text, "b") if place == "options" else (text,) if place == "answers" else f"x {text}"
    sample = Sample("0", images=(), group="g", category="", **fields)
    dataset = type("Set", (), {"config": compose_config("dataset=mmbench", "dataset.path=x").dataset, "name": "set"})()
    batch = builder.build([(0, sample, prompt_text(dataset, sample))], [])
    added = set(builder.tokenizer.added_tokens_decoder)
    assert not added & set(batch.questions[0])
    assert batch.references[0][-1] == builder.end_token
    assert not added & set(batch.references[0][:-1])
    prompt = builder.format.text_pass(batch.questions[0])
    assert builder.format.image_pad not in prompt.ids


@pytest.mark.parametrize("length", [1, 50_000])
def test_a_question_of_any_length_is_read_or_refused(builder: InputBuilder, length: int) -> None:
    sample = Sample("7", "?" * length, (), ("yes",), "g", "")
    if length == 1:
        assert len(builder.build([(0, sample, sample.question)], []).questions[0]) == 1
        return
    with pytest.raises(VoVNetError, match=r"question of sample 7 has 50000 tokens, this backbone reads 32768; shorten"):
        builder.build([(0, sample, sample.question)], [])


def test_a_reference_of_any_length_is_read_or_refused(builder: InputBuilder) -> None:
    sample = Sample("7", "?", (), ("?" * 50_000,), "g", "")
    with pytest.raises(
        VoVNetError, match=r"reference of sample 7 has 50001 tokens, this backbone reads 32768; shorten"
    ):
        builder.build([(0, sample, sample.question)], [])
    assert builder.build([(0, sample, sample.question)], [], references=False).references == ([],)
