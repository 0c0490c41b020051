"""Norms, rotary embeddings and patch embedding in fewer calls than transformers makes.

A pass over a few tokens is bound by how many operations it starts, on a GPU as on a CPU. Transformers spells a norm out
in seven of them, and the rotation of a query or key in five to seven; torch has one for the first, and the second is
three if the sign of the half that changes places is kept with the sine. The convolution over patches, whose steps are
as long as its kernel, is a product with a matrix.

Parts keep parameters, names and kind: only ``forward`` is another. In float32 the last bits of what they yield change,
as under another kernel; in half precision they round less often.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ONE_KERNEL = ("cuda",)  # devices that have one for a root-mean-square norm


def fuse(model: Any) -> None:
    """Let a model's parts use the forward passes below.

    ``attn_implementation=eager`` keeps transformers' own, spelled out as published.
    """
    language, visual = model.model.language_model, model.model.visual
    if language.config._attn_implementation == "eager":
        return
    for part in [*model.modules()]:
        if type(part).__name__.endswith("RMSNorm"):
            _let(part, Norm)
    _let(visual.patch_embed, PatchEmbedding)
    for rotary in (language.rotary_emb, visual.rotary_pos_emb):
        _let(rotary, SignedRotary)
    for layer in language.layers:
        _let(layer.self_attn, TextAttention)
    for block in visual.blocks:
        _let(block.attn, ImageAttention)


def _let(part: Any, forward: type) -> None:
    part.__class__ = _kind(forward, part.__class__)


@cache
def _kind(forward: type, kind: type) -> type:
    """One class for all parts of a kind."""
    return type(kind.__name__, (forward, kind), {})


class Norm:
    """A root-mean-square norm in one call."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] of [..., D]."""
        if hidden.device.type not in ONE_KERNEL:  # torch spells it out there too, and takes longer
            spelled_out: Tensor = super().forward(hidden)  # type: ignore[misc]
            return spelled_out
        return nn.functional.rms_norm(hidden, self.weight.shape, self.weight, self.variance_epsilon)


class PatchEmbedding:
    """The embedding of patches that do not overlap."""

    proj: nn.Conv3d

    def forward(self, patches: Tensor) -> Tensor:
        """Embeddings [P, D] of [P, channels * frames * height * width]."""
        weight = self.proj.weight
        return nn.functional.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)


class SignedRotary:
    """Cosines and sines of a rotary embedding for ``rotate``: the first half of the sines is negated."""

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Two of [..., tokens, head_dim]."""
        cos, sin = super().forward(x, position_ids)  # type: ignore[misc]
        sin[..., : sin.shape[-1] // 2].neg_()  # it is new, and of no gradient
        return cos, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """``x * cos + rotate_half(x) * sin`` of transformers, with the sign that ``rotate_half`` gives in ``sin``."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class TextAttention:
    """A decoder layer's attention."""

    def forward(
        self: Any,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from new tokens [B, L, D] to them and to those of a cache, which grows in place.

        Args:
            position_embeddings: of ``SignedRotary``, [B, L, head_dim].
        """
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key = self.q_proj(hidden_states).view(shape), self.k_proj(hidden_states).view(shape)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        if hasattr(self, "q_norm"):  # Qwen3-VL
            query, key = self.q_norm(query), self.k_norm(key)
        cos, sin = (part.unsqueeze(2) for part in position_embeddings)
        query, key = (rotate(part, cos, sin).transpose(1, 2) for part in (query, key))
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        attended, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=getattr(self, "sliding_window", None),
            **options,
        )
        return self.o_proj(attended.reshape(*hidden_states.shape[:-1], -1)), weights


class ImageAttention:
    """A vision block's attention within each image or window."""

    def forward(
        self: Any,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        max_seqlen: int | None = None,
        **options: Any,
    ) -> Tensor:
        """[P, D] of patches [P, D].

        Args:
            cu_seqlens: where each image begins and the last one ends, int32 [images + 1].
            position_embeddings: of ``SignedRotary``, float32 [P, head_dim].

        Raises:
            RuntimeError: the implementation of attention knows no bounds and would attend across images.
        """
        implementation = self.config._attn_implementation
        if "flash" not in implementation:
            raise RuntimeError(f"attention {implementation} would see all images of a batch as one")
        qkv = self.qkv(hidden_states).view(len(hidden_states), 3, self.num_heads, -1)
        cos, sin = (part[:, None, None] for part in position_embeddings)
        query, key = rotate(qkv[:, :2], cos, sin).to(qkv.dtype).permute(1, 2, 0, 3)[:, None]
        attended, _ = ALL_ATTENTION_FUNCTIONS[implementation](
            self,
            query,
            key,
            qkv[:, 2].transpose(0, 1)[None],
            attention_mask=None,
            scaling=self.scaling,
            dropout=self.attention_dropout if self.training else 0.0,
            cu_seq_lens_q=cu_seqlens,
            cu_seq_lens_k=cu_seqlens,
            max_length_q=max_seqlen,
            max_length_k=max_seqlen,
            is_causal=False,
            **options,
        )
        projected: Tensor = self.proj(attended.reshape(len(hidden_states), -1))
        return projected
