"""What the policy reads: the text pass, never the image and never the reference."""

import numpy as np

from vovnet.outcomes.rows import TextOutcomes
from vovnet.schema import FeatureMode

SCALARS: dict[FeatureMode, tuple[str, ...]] = {
    "hidden": (),
    "hidden_entropy": ("entropy",),
    "hidden_margin": ("margin",),
    "hidden_entropy_margin": ("entropy", "margin"),
}


def feature_width(mode: FeatureMode, hidden_size: int) -> int:
    """Number of features F."""
    return hidden_size + len(SCALARS[mode])


def features(text: TextOutcomes, mode: FeatureMode, rows: np.ndarray | None = None) -> np.ndarray:
    """Feature matrix of some rows (all when None), float32 [len(rows), F]."""
    rows = np.arange(len(text)) if rows is None else rows
    hidden = text.hidden.take(rows)
    scalars = [getattr(text, name)[rows].astype(np.float32)[:, None] for name in SCALARS[mode]]
    return np.concatenate([hidden, *scalars], axis=1) if scalars else hidden
