"""Fewer vision tokens of a whole image: the language model's sequence really becomes shorter.

Tokens are dropped after the merger, in every DeepStack level alike, and survivors keep the rotary
positions they had, so that the language model sees the picture with holes and not a smaller one.
"""

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vovnet.schema import PruningMode


@dataclass(frozen=True)
class Pruning:
    """How an image's tokens are thinned out.

    Attributes:
        mode: ``stride`` keeps evenly spaced tokens in row-major order; ``topk_norm`` those whose features
            have the largest L2 norm; ``random`` some, drawn from the image's own content; ``pool``
            averages neighbours in two dimensions; ``merge`` averages similar tokens (ToMe, Bolya et al. 2023).
        ratio: share that is kept, above 0 and at most 1.
    """

    mode: PruningMode
    ratio: float

    def remaining(self, rows: int, columns: int) -> int:
        """Tokens that are left of an image of rows x columns tokens; known before any vision runs."""
        if self.mode == "pool":
            return math.prod(self._pooled(rows, columns))
        return math.ceil(self.ratio * rows * columns)

    def _pooled(self, rows: int, columns: int) -> tuple[int, int]:
        """Grid after pooling: about the same shape, never more tokens than the ratio allows."""
        budget = math.ceil(self.ratio * rows * columns)
        pooled_rows = min(rows, budget, max(1, round(rows * math.sqrt(self.ratio))))
        return pooled_rows, min(columns, budget // pooled_rows)


@dataclass(frozen=True)
class ImageFeatures:
    """One image as the language model will see it.

    Attributes:
        levels: features [T, D] of the merger's output, then of each DeepStack level, stacked [1 + levels, T, D].
        kept: the place that each token has in the unpruned image, row by row, rising, int64 [T] on the CPU.
    """

    levels: Tensor
    kept: Tensor


def prune(levels: Tensor, rows: int, columns: int, pruning: Pruning, content: bytes) -> ImageFeatures:
    """Thin one image out.

    Args:
        levels: [1 + levels, rows * columns, D], the merger's output first.
        content: the image's own bytes, the seed of ``random``; so a batch's other images change nothing. No other mode
            reads them.
    """
    count, total = pruning.remaining(rows, columns), rows * columns
    if pruning.mode == "pool":
        return _pool(levels, (rows, columns), pruning._pooled(rows, columns))
    if pruning.mode == "merge":
        return _merge(levels, count)
    if pruning.mode == "stride":
        kept = (torch.arange(count) * 2 + 1) * total // (2 * count)
    elif pruning.mode == "topk_norm":
        norms = levels[0].float().norm(dim=-1).cpu()
        kept = norms.argsort(descending=True, stable=True)[:count].sort().values
    else:
        generator = torch.Generator().manual_seed(zlib.crc32(content))
        kept = torch.randperm(total, generator=generator)[:count].sort().values
    return ImageFeatures(levels[:, kept.to(levels.device)], kept)


def _pool(levels: Tensor, grid: tuple[int, int], pooled: tuple[int, int]) -> ImageFeatures:
    """Average over a coarser grid; a token stands at the middle of the area it covers."""
    maps = levels.reshape(len(levels), *grid, -1).permute(0, 3, 1, 2)  # [levels, D, rows, columns]
    features = nn.functional.adaptive_avg_pool2d(maps, pooled).permute(0, 2, 3, 1).flatten(1, 2)
    row, column = ((torch.arange(n) * 2 + 1) * side // (2 * n) for n, side in zip(pooled, grid, strict=True))
    return ImageFeatures(features, (row[:, None] * grid[1] + column[None]).flatten())


def _merge(levels: Tensor, count: int) -> ImageFeatures:
    """Bipartite soft matching: the most similar pairs of even and odd tokens become their mean, until few are left.

    Similarity is the cosine of the merger's output; means are weighted by how many tokens each stands for;
    a pair keeps the odd one's place.
    """
    size = levels.new_ones(levels.shape[1])
    kept = torch.arange(levels.shape[1])
    while len(kept) > count:
        unit = nn.functional.normalize(levels[0].float(), dim=-1)
        best = (unit[0::2] @ unit[1::2].T).max(dim=1)
        order = best.values.argsort(descending=True, stable=True)
        gone = order[: len(kept) - count]
        source, target = 2 * gone, 2 * best.indices[gone] + 1
        weighted = levels * size[:, None]
        weighted = weighted.index_add(1, target, weighted[:, source])
        size = size.index_add(0, target, size[source])
        left = torch.ones(len(kept), dtype=torch.bool, device=levels.device)
        left[source] = False
        levels, size, kept = (weighted / size[:, None])[:, left], size[left], kept[left.cpu()]
    return ImageFeatures(levels, kept)
