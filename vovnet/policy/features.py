"""What the policy reads: the text pass and, once it has looked, what the look yields; never the reference."""

import numpy as np

from vovnet.outcomes.rows import LookState, TextOutcomes
from vovnet.schema import FeatureMode

SCALARS: dict[FeatureMode, tuple[str, ...]] = {
    "hidden": (),
    "hidden_entropy": ("entropy",),
    "hidden_margin": ("margin",),
    "hidden_entropy_margin": ("entropy", "margin"),
}
LEAST = 1e-6  # probabilities nearer to 0 or 1 are alike


def feature_width(mode: FeatureMode, hidden_size: int) -> int:
    """Number of features F."""
    return hidden_size + len(SCALARS[mode])


def features(text: TextOutcomes | LookState, mode: FeatureMode, rows: np.ndarray | None = None) -> np.ndarray:
    """Feature matrix of some rows (all when None), float32 [len(rows), F]."""
    rows = np.arange(len(text)) if rows is None else rows
    hidden = text.hidden.take(rows)
    scalars = [getattr(text, name)[rows].astype(np.float32)[:, None] for name in SCALARS[mode]]
    return np.concatenate([hidden, *scalars], axis=1) if scalars else hidden


def seen_features(
    state: LookState, confidence: np.ndarray, mode: FeatureMode, rows: np.ndarray | None = None
) -> np.ndarray:
    """What a look yields as features: its prefill and the log-odds of its answer, float32 [len(rows), G]."""
    rows = np.arange(len(state)) if rows is None else rows
    certain = np.clip(confidence[rows].astype(np.float64), LEAST, 1 - LEAST)
    odds = np.log10(certain / (1 - certain)).astype(np.float32)
    return np.concatenate([features(state, mode, rows), odds[:, None]], axis=1)
