"""Norms, rotary embeddings and patch embedding in fewer calls than transformers makes.

A pass over a few tokens is bound by how many operations it starts, on a GPU as on a CPU. Transformers spells a norm out
in seven of them, and the rotation of a query or key in five to seven; on a GPU torch has one for the first, and the
second is three, for both together, if the sign of the half that changes places is kept with the sine. The convolution
over patches, whose steps are as long as its kernel, is a product with a matrix.

Parts keep parameters, names and kind: only ``forward`` is another. In float32 the last bits of what they yield change,
as under another kernel; in half precision they round as often or less.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ONE_KERNEL = ("cuda",)  # devices that have one for a root-mean-square norm
CHANGING = ("dynamic", "longrope")  # frequencies that depend on the longest prompt so far


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
            part.epsilon = torch.tensor(part.variance_epsilon)
    _let(visual.patch_embed, PatchEmbedding)
    _let(language.rotary_emb, TextRotary)
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
    """A root-mean-square norm, in one call on a GPU and in five on a CPU, where torch's own spells it out in more."""

    weight: Tensor
    variance_epsilon: float
    epsilon: Tensor  # the same for addcmul, which adds it without a call of its own

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] of [..., D]."""
        if hidden.device.type in ONE_KERNEL:
            return nn.functional.rms_norm(hidden, self.weight.shape, self.weight, self.variance_epsilon)
        return self.weight * by_their_size(hidden, self.epsilon)


def by_their_size(vectors: Tensor, epsilon: Tensor) -> Tensor:
    """Vectors [..., D] divided by the root of their mean square and epsilon; worked out in float32."""
    wide = vectors.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    mean_square = torch.addcmul(epsilon.to(wide.device), length, length, value=1 / wide.shape[-1])
    return (wide * torch.rsqrt(mean_square)).to(vectors.dtype)


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


class TextRotary:
    """Places the angles of the three axes once instead of their cosines and their sines."""

    def forward(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Two of [B, tokens, head_dim]; positions [3, B, tokens]."""
        if self.rope_type in CHANGING:
            changing: tuple[Tensor, Tensor] = super().forward(x, position_ids)  # type: ignore[misc]
            return changing
        angles = self.recomposition_frequencies(position_ids[..., None].float() * self.inv_freq.float())
        cos, sin = angles.cos(), angles.sin()
        if self.attention_scaling != 1.0:
            cos, sin = cos * self.attention_scaling, sin * self.attention_scaling
        return cos.to(x.dtype), sin.to(x.dtype)


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
        cache: Any = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from new tokens [B, L, D] to them and to those of a cache, which grows in place.

        Args:
            position_embeddings: of ``SignedRotary``, [B, L, head_dim].
            cache: what transformers calls ``past_key_values`` from 5.24 on.
        """
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key = self.q_proj(hidden_states).view(shape), self.k_proj(hidden_states).view(shape)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        cos, sin = (part.unsqueeze(2) for part in position_embeddings)
        heads = [query.shape[2], key.shape[2]]
        both = rotate(self._joined(query, key), cos, sin).transpose(1, 2)
        query, key = torch.split(both, heads, dim=1)
        past = cache if past_key_values is None else past_key_values
        if past is not None:
            key, value = past.update(key, value, self.layer_idx)
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

    def _joined(self: Any, query: Tensor, key: Tensor) -> Tensor:
        """Queries and keys [B, L, heads, head_dim] as heads of one tensor, each normed by its own weights.

        On a CPU the two norms are one, and their modules are not called.
        """
        if not hasattr(self, "q_norm"):  # Qwen2.5-VL
            return torch.cat([query, key], dim=2)
        if query.device.type in ONE_KERNEL:
            return torch.cat([self.q_norm(query), self.k_norm(key)], dim=2)
        both = by_their_size(torch.cat([query, key], dim=2), self.q_norm.epsilon)
        weights = [norm.weight.expand(part.shape[2], -1) for norm, part in ((self.q_norm, query), (self.k_norm, key))]
        return torch.cat(weights) * both


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
