"""What the policy reads: the text pass and, once it has looked, what the look yields; never the reference."""

import numpy as np

from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import LookState, TextOutcomes, known
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
    if not text.hidden.width and len(text):
        raise VoVNetError(
            "these outcomes were imported without hidden states, which the policy reads; import them with features.npy "
            "and the column features_row, or choose a baseline or a policy of your own that reads the question."
        )
    hidden = text.hidden.take(rows)
    less = "set policy.feature_mode=hidden"
    scalars = [known(getattr(text, name)[rows], name, less).astype(np.float32)[:, None] for name in SCALARS[mode]]
    return np.concatenate([hidden, *scalars], axis=1) if scalars else hidden


def seen_features(
    state: LookState, confidence: np.ndarray, mode: FeatureMode, rows: np.ndarray | None = None
) -> np.ndarray:
    """What a look yields as features: its prefill and the log-odds of its answer, float32 [len(rows), G]."""
    rows = np.arange(len(state)) if rows is None else rows
    certain = np.clip(known(confidence[rows], "answer_probability").astype(np.float64), LEAST, 1 - LEAST)
    odds = np.log10(certain / (1 - certain)).astype(np.float32)
    return np.concatenate([features(state, mode, rows), odds[:, None]], axis=1)
