"""From a question and its images to the inputs that a family's processor makes.

The text around the question and the images are processed once and spliced with the question's own tokens, so that a
question can forge no control token and images shared by questions are processed once. Where splicing and the processor
disagree on sample texts (a tokenizer that marks the beginning of a text, a processor that moves the images), the
processor makes every prompt whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vovnet.errors import VoVNetError
from vovnet.vlm.tokens import encode_user_texts, holds_control_token

TEXTS = ("What is shown?", "Is it red or blue?\nA. red\nB. blue\nAnswer with a letter.", "7", "1, 2: ä 東 (…)", "a b ")
TOKEN_LEVEL = ("ids", "mask", "types")  # ends of the names of inputs that have one entry a token


@dataclass(frozen=True)
class Frames:
    """The text around a question, as the chat template renders it.

    Attributes:
        text: before and after a question without images.
        shown: the same by the number of images; three pieces where the question is repeated after them.
        special: whether the tokenizer adds its special tokens, which the template leaves out.
        marks: what stands for the first image, the second and so on among text; none where the template puts images
            elsewhere than a message has them.
        begins: what is before the text of a message that begins with an image.
    """

    text: tuple[str, ...]
    shown: Mapping[int, tuple[str, ...]]
    special: bool
    marks: tuple[str, ...] = ()
    begins: str = ""

    def among(self, texts: Sequence[str]) -> str:
        """The prompt whose images stand between these texts, of which some may be empty.

        Raises:
            VoVNetError: too many images, or a template that puts them elsewhere.
        """
        if not self.marks:
            raise VoVNetError(
                "the chat template of this backbone does not show images where they stand among text; set "
                "dataset.interleave=false."
            )
        if len(texts) > len(self.marks) + 1:
            raise VoVNetError(f"it has {len(texts) - 1} images; a prompt takes at most {len(self.marks)}.")
        first = self.text[0] + texts[0] + self.marks[0] if texts[0] else self.begins
        others = zip(["", *self.marks[1:]], texts[1:], strict=False)
        return first + "".join(mark + text for mark, text in others) + self.text[1]


@dataclass(frozen=True)
class Piece:
    """A part of a prompt: token ids [L], what else is said of each token [L, ...], and image tensors, all by name."""

    ids: np.ndarray
    extra: Mapping[str, Tensor]
    images: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Memory of the image tensors."""
        return sum(tensor.nbytes for tensor in self.images.values())


@dataclass(frozen=True)
class Prompt(Piece):
    """One sample's prompt.

    Attributes:
        shared: leading tokens that equal those of the prompt without images, and come before every image token.
        vision_tokens: of its images, in the sequence or in cross-attention.
        patches: that the vision encoder reads.
    """

    shared: int = 0
    vision_tokens: int = 0
    patches: int = 0

    @property
    def length(self) -> int:
        """Tokens that the language model reads, with those that images have in cross-attention."""
        return len(self.ids) + (self.vision_tokens if "cross_attention_mask" in self.extra else 0)

    def beginning(self) -> "Prompt":
        """The shared tokens alone."""
        extra = {name: said[: self.shared] for name, said in self.extra.items()}
        return replace(self, ids=self.ids[: self.shared], extra=extra)


@dataclass(frozen=True)
class Prompter:
    """Makes prompts with a processor; ``spliced`` says how.

    Attributes:
        image_ids: token ids that may stand for image features; the first that a prompt holds does.
        axes: along which image tensors of several prompts are joined, where it is not the first.
        types: names of what is said of each token beside its id, of images and of text.
        tile_states: cross-attention states of an image tile, for families whose images are not in the sequence.
    """

    processor: Any
    frames: Frames
    image_ids: tuple[int, ...]
    patch: int
    types: tuple[str, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict)
    tile_states: int = 0
    spliced: bool = True

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.processor.tokenizer

    def text(self, question: str, ids: list[int]) -> Prompt:
        """The prompt without images; ``ids`` are the question's own."""
        before, after = self.frames.text
        if self.splices(question):
            found = [*self._encode(before, self.frames.special), *ids, *self._encode(after)]
        else:
            found = self._encode(before + question + after, self.frames.special)
        return Prompt(
            np.asarray(found, dtype=np.int64),
            {name: torch.zeros(len(found), dtype=torch.long) for name in self.types},
            {},
        )

    def pieces(self, images: Sequence[Image.Image], keys: Mapping[str, Any]) -> list[Piece]:
        """What surrounds a question about some images: independent of the question, so it can be kept."""
        found = []
        for number, text in enumerate(self._frame(len(images))):
            special = self.frames.special and number == 0
            # The piece that holds the images is the one that differs from the text around a question without them.
            if text in (self.frames.text[min(number, 1)], ""):
                found.append(Piece(np.asarray(self._encode(text, special), dtype=np.int64), {}, {}))
            else:
                found.append(self._process(text, images, keys, special))
        return found

    @property
    def begins_alike(self) -> bool:
        """Whether prompts with images begin as those without, up to the end of the question."""
        return all(pieces[0] == self.frames.text[0] for pieces in self.frames.shown.values())

    @cached_property
    def tail_length(self) -> int:
        """Tokens after a question."""
        return len(self._encode(self.frames.text[1]))

    def shown(self, ids: list[int], around: Sequence[Piece]) -> Prompt:
        """The prompt with images, spliced from the question's tokens and what surrounds it."""
        own = np.asarray(ids, dtype=np.int64)
        row = [around[0]]
        for piece in around[1:]:
            row += [Piece(own, {}, {}), piece]
        extra = {name for piece in row for name in piece.extra}
        joined = np.concatenate([piece.ids for piece in row])
        begins_alike = not around[0].images and len(around) > 1
        return self._counted(
            joined,
            {name: torch.cat([_extra(piece, name, row) for piece in row]) for name in extra},
            next((piece.images for piece in row if piece.images), {}),
            len(around[0].ids) + len(ids) if begins_alike else 0,
        )

    def prompt(self, question: str, ids: list[int], images: Sequence[Image.Image], keys: Mapping[str, Any]) -> Prompt:
        """The prompt with images, in the way that is exact."""
        return (
            self.shown(ids, self.pieces(images, keys)) if self.splices(question) else self.whole(question, images, keys)
        )

    def count(self, image: Image.Image, keys: Mapping[str, Any]) -> int:
        """Vision tokens of one image."""
        ids = encode_user_texts(self.tokenizer, [TEXTS[0]])[0]
        return self.prompt(TEXTS[0], ids, [image], keys).vision_tokens

    def whole(self, question: str, images: Sequence[Image.Image], keys: Mapping[str, Any]) -> Prompt:
        """The prompt with images as the processor makes it of one text."""
        return self._made(question.join(self._frame(len(images))), images, keys)

    def among(self, texts: Sequence[str], images: Sequence[Image.Image], keys: Mapping[str, Any]) -> Prompt:
        """The prompt with images between texts, as the processor makes it of one text.

        Raises:
            VoVNetError: the chat template has no such prompts, or a text forges a control token.
        """
        if any(holds_control_token(self.tokenizer, text) for text in texts):
            raise VoVNetError(
                "its text holds a control token of this backbone, and its images stand among it; leave the row out, or "
                "set dataset.interleave=false."
            )
        return self._made(self.frames.among(texts), images, keys)

    def _made(self, text: str, images: Sequence[Image.Image], keys: Mapping[str, Any]) -> Prompt:
        piece = self._process(text, images, keys, self.frames.special)
        return self._counted(piece.ids, piece.extra, piece.images, 0)

    def splices_exactly(self, image: Image.Image, keys: Mapping[str, Any]) -> bool:
        """Whether spliced prompts are those of the processor on some usual texts."""
        around = self.pieces([image], keys)
        for text in TEXTS:
            ids = encode_user_texts(self.tokenizer, [text])[0]
            here, there = self.shown(ids, around), self.whole(text, [image], keys)
            alone = self._encode(text.join(self.frames.text), self.frames.special)
            if not np.array_equal(here.ids, there.ids) or self.text(text, ids).ids.tolist() != alone:
                return False
            if any(name not in here.extra or not here.extra[name].equal(there.extra[name]) for name in there.extra):
                return False
        return True

    def splices(self, question: str) -> bool:
        """Whether a question's prompt is spliced: always where it forges a control token."""
        return self.spliced or holds_control_token(self.tokenizer, question)

    def _frame(self, images: int) -> tuple[str, ...]:
        if images not in self.frames.shown:
            raise VoVNetError(f"it has {images} images; a prompt takes at most {max(self.frames.shown)}.")
        return self.frames.shown[images]

    def _encode(self, text: str, special: bool = False) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def _process(self, text: str, images: Sequence[Image.Image], keys: Mapping[str, Any], special: bool) -> Piece:
        made = self.processor(
            text=[text],
            images=[list(images)],  # nested: a flat list is one prompt's images to some families
            images_kwargs=dict(keys),
            text_kwargs={"add_special_tokens": special},
            return_tensors="pt",
        )
        ids = made.pop("input_ids")[0]
        made.pop("attention_mask", None)
        made.pop("labels", None)  # PaliGemma's processor returns some without a suffix
        per_token = {n for n, t in made.items() if n.endswith(TOKEN_LEVEL) and t.shape[:2] == (1, len(ids))}
        per_token |= {n for n in made if n == "cross_attention_mask"}
        return Piece(
            ids.numpy(),
            {name: made[name][0] for name in per_token},
            {name: tensor for name, tensor in made.items() if name not in per_token},
        )

    def _counted(
        self, ids: np.ndarray, extra: Mapping[str, Tensor], images: Mapping[str, Tensor], shared: int
    ) -> Prompt:
        return Prompt(ids, extra, images, shared, self._tokens(ids, extra), patches(images, self.patch))

    def _tokens(self, ids: np.ndarray, extra: Mapping[str, Tensor]) -> int:
        if "cross_attention_mask" in extra:  # [L, images, tiles]: what any token may look at
            return int(extra["cross_attention_mask"].any(dim=0).sum()) * self.tile_states
        return next((count for one in self.image_ids if (count := int((ids == one).sum()))), 0)


def _extra(piece: Piece, name: str, row: Sequence[Piece]) -> Tensor:
    """What is said of a piece's tokens; zeros for a piece of text."""
    if name in piece.extra:
        return piece.extra[name]
    like = next(one.extra[name] for one in row if name in one.extra)
    return like.new_zeros(len(piece.ids), *like.shape[1:])


def patches(images: Mapping[str, Tensor], side: int) -> int:
    """Patches that the vision encoder reads, of pixels or of patches that are cut already."""
    pixels = images.get("pixel_values")
    if pixels is None:
        return 0
    if pixels.ndim >= 4 and pixels.shape[-3] == 3:  # [..., 3, height, width]
        return pixels.shape[:-3].numel() * (pixels.shape[-2] // side) * (pixels.shape[-1] // side)
    return int(pixels.shape[:-1].numel())


def collate(prompts: Sequence[Prompt], begins: Sequence[int], padding: int, device: torch.device) -> dict[str, Tensor]:
    """Token inputs of prompts from some position on, padded on the left: [B, L, ...] by name."""
    lengths = [len(prompt.ids) - begin for prompt, begin in zip(prompts, begins, strict=True)]
    longest = max(lengths)
    ids = torch.full((len(prompts), longest), padding)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    names = {name: tensor for prompt in prompts for name, tensor in prompt.extra.items()}
    extra = {name: like.new_zeros(len(prompts), longest, *like.shape[1:]) for name, like in names.items()}
    for row, (prompt, begin, length) in enumerate(zip(prompts, begins, lengths, strict=True)):
        ids[row, longest - length :] = torch.from_numpy(prompt.ids[begin:])
        mask[row, longest - length :] = 1
        for name, tensor in prompt.extra.items():
            extra[name][row, longest - length :] = tensor[begin:]
    inputs = {"input_ids": ids, "attention_mask": mask} | extra
    return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}


def joining_axes(image_processor: Any, keys: Mapping[str, Any]) -> dict[str, int]:
    """Along which axis a family joins the tensors of several images, where it is not the first."""
    pair = [Image.new("RGB", size) for size in ((48, 40), (40, 64))]
    options = {"return_tensors": "pt", **keys}
    one, two, both = (image_processor(images=[[i] for i in some], **options) for some in (pair[:1], pair[1:], pair))
    found = {}
    for name, joined in both.items():
        if not isinstance(joined, Tensor) or joined.ndim != one[name].ndim:
            continue
        shapes = zip(joined.shape, one[name].shape, two[name].shape, strict=True)
        grown = [axis for axis, (all_of, first, second) in enumerate(shapes) if all_of == first + second]
        if grown and 0 not in grown:
            found[name] = grown[-1]
    return found


def collate_images(
    prompts: Sequence[Prompt], axes: Mapping[str, int], device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Image inputs of prompts one after another, zeros where one is larger than another; floats in the model's type.

    Prompts without images have none.
    """
    found, shown = {}, [prompt.images for prompt in prompts if prompt.images]
    for name in shown[0] if shown else ():
        parts = [images[name].to(device, non_blocking=True) for images in shown]
        axis = axes.get(name, 0)
        tensor = torch.cat(_padded(parts, axis), dim=axis) if parts[0].ndim else torch.stack(parts)
        found[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return found


def _padded(parts: Sequence[Tensor], axis: int) -> list[Tensor]:
    """Tensors of one size but for one axis."""
    size = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    found = []
    for part in parts:
        whole = [*size[:axis], part.shape[axis], *size[axis + 1 :]]
        if list(part.shape) != whole:
            filled = part.new_zeros(whole)
            filled[tuple(slice(0, length) for length in part.shape)] = part
            part = filled
        found.append(part)
    return found
