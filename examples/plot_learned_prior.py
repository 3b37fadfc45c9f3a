"""
What has the network learned of the prior?
==========================================

The divergence-trained network is φ(x) = G x − ε ∇log p(x): it holds the score of the prior, though
nobody has told it the density. How good is this score, compared with what a kernel density estimate
makes of the same signals?
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.diagnostics import score_error
from skinvbayes.plotting import LossCurveDisplay, VectorFieldDisplay
from skinvbayes.priors import KernelDensityPrior

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 20_000))
train, test = (make_bimodal(n, noise_level=0.15, random_state=n) for n in (n_samples, 2000))
estimator = DivergenceRegularizedINN(random_state=0).fit(train.X, train.Y)

# %%
# The error is relative, in the mean over new signals. A kernel has to choose: a wide one blurs the
# prior, a narrow one is off where signals are few.
print(f"learned score: {100 * score_error(estimator, test.X, test.prior):.1f} % off")
true = test.prior.score(test.X)
for bandwidth in (0.05, 0.1, 0.2):
    density = KernelDensityPrior(train.X[:4000], bandwidth=bandwidth)
    error = np.linalg.norm(density.score(test.X) - true) / np.linalg.norm(true)
    print(f"kernel density of bandwidth {bandwidth}: {100 * error:.1f} % off")

# %%
# Both fields vanish at the peaks and at the saddle between them, and elsewhere point to the peaks.
figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.6), layout="constrained", width_ratios=[1, 1, 1])
nodes = np.stack(np.meshgrid(np.linspace(-2, 2, 13), np.linspace(-1.5, 1.5, 10)), -1).reshape(-1, 2)
VectorFieldDisplay.from_estimator(
    *(estimator, nodes), response_method="prior_score", scale=25, ax=axes[0], title="learned score"
)
score = test.prior.score(nodes)
VectorFieldDisplay.from_predictions(nodes, score, scale=25, ax=axes[1], title="true score")
for ax in axes[:2]:
    ax.set(xlim=(-2.2, 2.2), ylim=(-1.7, 1.7))
    ax.plot(*train.prior.means.T, "r+", markersize=10)
LossCurveDisplay.from_estimator(estimator, ax=axes[2], title="Training")
figure.suptitle("The score of the prior, 1/25 of its length; + marks the peaks")
