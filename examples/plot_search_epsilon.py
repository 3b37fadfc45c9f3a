"""
Which scorer finds the right epsilon?
=====================================

The estimators predict signals from measurements, whereas scikit-learn's named scorers compare
``predict(X)`` with Y. Where signals and measurements have the same size that raises no error. What
does a search over epsilon choose then?
"""

import os
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skinvbayes import DivergenceRegularizedINN, Reconstructor, reconstruction_scorer
from skinvbayes.datasets import make_bimodal

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 1000))
noise_level = 0.4
train, test = (make_bimodal(n_samples, noise_level=noise_level, random_state=i) for i in (0, 1))
epsilon = noise_level**2 * 2.0 ** np.arange(-4, 4)
estimator = DivergenceRegularizedINN(max_iter=50, random_state=0)

# %%
# Three right ways: the estimators' own score, a reconstruction scorer, and the Reconstructor, whose
# direction is the usual one. And the trap. Short trainings are enough to compare.
searches = {
    "scoring=None": GridSearchCV(estimator, {"epsilon": epsilon}, cv=3),
    'scoring=reconstruction_scorer("r2")': GridSearchCV(
        estimator, {"epsilon": epsilon}, cv=3, scoring=reconstruction_scorer("r2")
    ),
    'Reconstructor, scoring="r2"': GridSearchCV(
        Reconstructor(estimator), {"estimator__epsilon": epsilon}, cv=3, scoring="r2"
    ),
    'scoring="r2": the trap': GridSearchCV(estimator, {"epsilon": epsilon}, cv=3, scoring="r2"),
}
for name, search in searches.items():
    usual = "Reconstructor" in name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(*((train.Y, train.X) if usual else (train.X, train.Y)))
    found = search.best_estimator_.predict(test.Y)
    error = np.sqrt(((found - test.X) ** 2).sum(axis=1).mean())
    (best,) = search.best_params_.values()
    print(f"{name}: epsilon {best:.3g}, RMSE of new reconstructions {error:.3f}")

# %%
# The trapped search compares signals with measurements and so prefers the least regularisation; the
# scores of the others are highest around the square of the noise level, the Bayesian choice.
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
markers = iter("osx^")
for name, search in searches.items():
    style = "--" if "trap" in name else "-"
    scores = search.cv_results_["mean_test_score"]
    ax.semilogx(epsilon, scores, style, marker=next(markers), markerfacecolor="none", label=name)
ax.axvline(noise_level**2, color="grey", linestyle=":", label="δ²")
ax.set(xlabel="epsilon", ylabel="R² of cross-validation", title="Four searches over epsilon")
ax.legend()
