#!/usr/bin/env bash
# scikit-learn's temperature scaling finds temperature 2 for a calibrated model of two classes, and 1 for three.
#
# Versions: scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1.
# Behaviour: CalibratedClassifierCV(method="temperature") makes two columns of a one-column decision function, -x and x, and
#   a softmax of these has the log-odds 2x. The factor that it learns is half of the usual one. A model that offers only
#   predict_proba goes through logarithms and gets the usual factor.
# Why it surprises: temperature 1 means "calibrated" in the method's paper and everywhere else. Here the same probabilities
#   have temperature 2 or 1, depending on the model's methods and on the number of classes. The calibrated probabilities
#   are right in each case.
# Whom it hurts: whoever reports or compares temperatures (an "overconfident by 2" that is not there), or applies the factor
#   to logits elsewhere: the router's probabilities then become too flat or too sharp by a factor of two.
# Output seen:
#   two classes, decision_function: temperature 2.00, probabilities moved by 0.000
#   two classes, predict_proba: temperature 1.00, probabilities moved by 0.000
#   three classes, decision_function: temperature 1.00, probabilities moved by 0.000
set -euo pipefail
place=$(mktemp -d) && trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 2>/dev/null
"$place/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression


class Probabilities(ClassifierMixin, BaseEstimator):
    """The same model without a decision function."""

    def fit(self, X, y):
        self.model_ = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.model_.predict(X)


def temperature(name, y):
    model = (Probabilities if "proba" in name else lambda: LogisticRegression(C=1e6, tol=1e-10, max_iter=1000))()
    after = CalibratedClassifierCV(FrozenEstimator(model.fit(X, y)), method="temperature").fit(X, y)
    found = 1 / after.calibrated_classifiers_[0].calibrators[0].beta_
    moved = np.abs(after.predict_proba(X) - model.predict_proba(X)).max()
    print(f"{name}: temperature {found:.2f}, probabilities moved by {moved:.3f}")
    return found


X = np.random.default_rng(0).normal(size=(5000, 1))
noisy = X[:, 0] + np.random.default_rng(1).logistic(size=5000)
two, three = (noisy > 0).astype(int), np.digitize(noisy, (-1, 1))
found = [temperature(f"two classes, {way}", two) for way in ("decision_function", "predict_proba")]
assert np.allclose([*found, temperature("three classes, decision_function", three)], (2, 1, 1), atol=0.02)
PY
