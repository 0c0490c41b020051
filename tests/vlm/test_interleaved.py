"""Images among the text of a question (``dataset.interleave``): the chat template's own prompts, in both adapters."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoTokenizer

from tests.conftest import compose_config
from tests.families.factory import write
from tests.vlm.alike import assert_alike
from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.data import ImageRef, Item, Sample
from vovnet.errors import VoVNetError
from vovnet.vlm.chat_template import find_template
from vovnet.vlm.files import PACKAGED, find_checkpoint
from vovnet.vlm.generic.prompters import prompter_of
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.openai.builder import MessageBuilder
from vovnet.vlm.protocol import VLM, Decoding, Reading
from vovnet.vlm.tokens import encode_user_texts

GREEDY = Decoding(max_new_tokens=4, num_beams=1, do_sample=False, temperature=1.0)
TEXTS = (
    ("look at", "and at", "which is red?"),
    ("", "then", "which?"),
    ("a", "", "b"),
    ("", "", "both?"),
    ("only", ""),
)


def content(texts: tuple[str, ...]) -> list[dict[str, str]]:
    """A message's content as lmms-eval makes it: empty texts are left out, but for the last."""
    parts: list[dict[str, str]] = []
    for number, text in enumerate(texts):
        parts += [{"type": "image"}] * (number > 0)
        parts += [{"type": "text", "text": text}] * (text != "" or number == len(texts) - 1)
    return parts


def rendered(folder: Path, texts: tuple[str, ...]) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = find_template(folder, tokenizer)[1]
    message = [{"role": "user", "content": content(texts)}]
    return str(
        tokenizer.apply_chat_template(message, chat_template=template, tokenize=False, add_generation_prompt=True)
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageRef, ...]:
    folder, found = tmp_path_factory.mktemp("pictures"), []
    for name, size in (("red", (64, 48)), ("blue", (40, 64))):
        Image.new("RGB", size, name).save(folder / f"{name}.png")
        found.append(ImageRef(name, folder / f"{name}.png"))
    return tuple(found)


def asked(pictures: tuple[ImageRef, ...], texts: tuple[str, ...], row: int = 0, marked: bool = True) -> Item:
    """A question whose text marks its images."""
    marks = tuple(f"<image {number + 1}>" for number in range(len(texts) - 1))
    text = texts[0] + "".join(f" {mark} {after}" for mark, after in zip(marks, texts[1:], strict=True))
    shown = pictures[: len(marks)]
    return row, Sample(str(row), text, shown, ("red",), "g", "", marks=marks if marked else ()), text


@pytest.fixture
def items(pictures: tuple[ImageRef, ...]) -> list[Item]:
    """Questions of every shape, and some whose images stand together, in one batch."""
    return [asked(pictures, texts, row, marked=row % 3 != 1) for row, texts in enumerate(TEXTS)]


def load(folder: Path, implementation: str, order: str, *overrides: str) -> VLM:
    config = compose_config(f"backbone.path={folder}", f"backbone.prompt_order={order}", *overrides)
    return load_backbone(replace(config.backbone, implementation=implementation), config.vision_budget)


@pytest.fixture(scope="module", params=[("qwen25", "image_first"), ("tiny", "text_first")])
def pair(request: pytest.FixtureRequest) -> tuple[VLM, VLM]:
    """Fast and generic."""
    name, order = request.param
    folder = PACKAGED / "tiny" if name == "tiny" else request.getfixturevalue(name)
    return load(folder, "qwen", order), load(folder, "generic", order)


def test_both_adapters_read_and_answer_alike(pair: tuple[VLM, VLM], items: list[Item]) -> None:
    assert_alike(pair, items, GREEDY)


def test_a_text_pass_is_continued_by_the_rows_that_begin_as_it_does(pair: tuple[VLM, VLM], items: list[Item]) -> None:
    """The others are read whole, in the same batch: exactly what each is by itself."""
    for vlm in pair:
        batch = vlm.builder.build(items, VISUAL_ACTIONS)
        with torch.inference_mode():
            text = vlm.read(batch, Action.NO)
            for action in VISUAL_ACTIONS:
                together, alone = vlm.read(batch, action, text), vlm.read(batch, action)
                torch.testing.assert_close(together.logits, alone.logits, atol=2e-4, rtol=0)
                assert together.prompt_tokens.tolist() == alone.prompt_tokens.tolist()
                reused = [count > 0 for count in together.reused_tokens.tolist()]
                assert reused == [vlm.cache_reuse and not sample.marks for _, sample, _ in items]
            part = batch.select([0, 2])
            part = vlm.builder.with_images(part, [items[0][1], items[2][1]], [Action.FULL])
            split = vlm.read(part, Action.FULL, text.split([[0, 2]])[0])
            torch.testing.assert_close(split.logits, alone.logits[[0, 2]], atol=2e-4, rtol=0)


def test_every_row_by_itself_is_the_same_row(pictures: tuple[ImageRef, ...], items: list[Item], qwen3: Path) -> None:
    vlm = load(qwen3, "qwen", "text_first", "backbone.batch_invariant=true")
    found = []
    for some in (items, [items[0]]):
        batch = vlm.builder.build(some, VISUAL_ACTIONS)
        with torch.inference_mode():
            state = vlm.read(batch, Action.FULL, vlm.read(batch, Action.NO))
            (answers,) = vlm.answer([Reading(batch, Action.FULL, state)], GREEDY)
            found.append((state.logits[0], answers[0].confidence))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("texts", TEXTS)
def test_the_fast_paths_tokens_are_the_chat_templates(
    pictures: tuple[ImageRef, ...], qwen3: Path, texts: tuple[str, ...]
) -> None:
    vlm = load(qwen3, "qwen", "image_first")
    batch = vlm.builder.build([asked(pictures, texts)], [Action.COARSE])
    (prompt,) = vlm.prompts(batch, batch.images[Action.COARSE])  # type: ignore[operator]
    expected = vlm.builder.tokenizer.encode(rendered(qwen3, texts), add_special_tokens=False)  # type: ignore[attr-defined]
    form = vlm.builder.format  # type: ignore[attr-defined]
    ids = prompt.ids.tolist()
    once = [token for n, token in enumerate(ids) if token != form.image_pad or ids[n - 1] != form.image_pad]
    assert once == expected
    assert ids.count(form.image_pad) == vlm.read(batch, Action.COARSE).vision_tokens[0]
    positions, delta = vlm.model.model.get_rope_index(  # type: ignore[union-attr]
        torch.tensor([ids]),
        mm_token_type_ids=torch.tensor([[int(token == form.image_pad) for token in ids]]),
        image_grid_thw=torch.tensor(batch.images[Action.COARSE].grids(0)),
    )
    assert positions[:, 0].tolist() == prompt.positions.tolist()
    assert prompt.next_position == len(ids) + int(delta)


@pytest.mark.parametrize("family", ["idefics3", "ovis2"])
def test_the_generic_adapters_prompt_is_the_processors_of_the_chat_template(family: str, tmp_path: Path) -> None:
    write(family, tmp_path / family)
    config = compose_config("backbone=folder", f"backbone.path={tmp_path / family}", "backbone.prompt_order=text_first")
    prompter = prompter_of(config.backbone, find_checkpoint(config.backbone))
    for texts in TEXTS:
        images = [Image.new("RGB", (64, 48), "red"), Image.new("RGB", (48, 64), "blue")][: len(texts) - 1]
        expected = prompter.processor(
            text=[rendered(tmp_path / family, texts)],
            images=[images],
            text_kwargs={"add_special_tokens": prompter.frames.special},
            return_tensors="pt",
        )
        made = prompter.among(texts, images, {})
        assert (made.ids.tolist(), made.shared) == (expected["input_ids"][0].tolist(), 0)
        assert torch.equal(made.images["pixel_values"], expected["pixel_values"])


def test_a_template_that_moves_images_is_refused(tmp_path: Path, pictures: tuple[ImageRef, ...]) -> None:
    write("llava", tmp_path / "llava")
    config = compose_config(
        "backbone=folder", f"backbone.path={tmp_path / 'llava'}", "backbone.prompt_order=text_first"
    )
    prompter = prompter_of(config.backbone, find_checkpoint(config.backbone))
    with pytest.raises(VoVNetError, match=r"does not show images where they stand among text; set dataset\.interleave"):
        prompter.among(TEXTS[0], [], {})


def test_a_text_forges_neither_an_image_nor_a_place_for_one(
    pair: tuple[VLM, VLM], pictures: tuple[ImageRef, ...]
) -> None:
    fast, generic = pair
    pad = fast.builder.format.image_pad  # type: ignore[attr-defined]
    marked = asked(pictures, ("see", "or <|image_pad|> <image 1> here?"))
    plain = asked(pictures, ("see", "or <image 1> here?"), marked=False)
    for one in (marked, plain):
        batch = fast.builder.build([one], [Action.FULL])
        (prompt,) = fast.prompts(batch, batch.images[Action.FULL])  # type: ignore[operator]
        assert prompt.ids.tolist().count(pad) == fast.builder.tokens(one[1], [Action.FULL])[0]
        shown = fast.builder.tokenizer.decode(prompt.ids)  # type: ignore[attr-defined]
        assert shown.count("<image 1>") == (1 if one is marked else 2)
    with pytest.raises(VoVNetError, match=r"sample 0: its text holds a control token .*dataset\.interleave=false"):
        generic.builder.build([marked], [Action.FULL])


def test_a_server_is_refused(pictures: tuple[ImageRef, ...]) -> None:
    with pytest.raises(VoVNetError, match=r"images together; set dataset\.interleave=false"):
        MessageBuilder(budget=None).build([asked(pictures, TEXTS[0])], [Action.FULL])  # type: ignore[arg-type]


@given(st.lists(st.text(st.characters(exclude_characters="<>")), min_size=2, max_size=8))
def test_a_prompt_is_split_at_its_marks_and_nothing_is_lost(texts: list[str]) -> None:
    marks = tuple(f"<image {number}>" for number in range(len(texts) - 1, 0, -1))
    text = texts[0] + "".join(mark + after for mark, after in zip(marks, texts[1:], strict=True))
    sample = Sample("1", text, (), (), "", "", marks=marks)
    assert sample.around_images(text) == [text.strip() for text in texts]
    assert sample.around_images(f"{text} and {marks[0]}")[-1] == f"{texts[-1]} and {marks[0]}".strip()


def test_a_template_without_the_options_is_refused_where_they_show_an_image() -> None:
    sample = Sample("7", "Which?", (), (), "", "", marks=("<image 1>", "<image 2>"))
    with pytest.raises(VoVNetError, match=r"sample 7 does not show <image 1> .*put \{question\} and then \{options\}"):
        sample.around_images("<image 2> or <image 1>".replace("1", "3"))
    with pytest.raises(VoVNetError, match="does not show <image 2> after the images before it"):
        sample.around_images("<image 2> or <image 1>")


def test_texts_between_images_are_tokenised_by_themselves(qwen3: Path) -> None:
    """As between the control tokens of an image, across which no tokenizer merges."""
    tokenizer = AutoTokenizer.from_pretrained(qwen3)
    parts = encode_user_texts(tokenizer, ["look at", "and at"])
    whole = tokenizer.encode("look at<|vision_start|>and at", add_special_tokens=False)
    assert [*parts[0], tokenizer.convert_tokens_to_ids("<|vision_start|>"), *parts[1]] == whole
