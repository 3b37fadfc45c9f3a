"""
Which estimate does an invertible network become?
=================================================

Signals with two modes are seen through noise. Two networks of the same shape learn the forward map,
one with the reconstruction loss, one with the divergence loss. What do their inverses reconstruct?
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.plotting import DeformedGridDisplay

# %%
# Pairs of signals and measurements carry both the operator and the prior.
n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 4000))
problem = make_bimodal(n_samples, noise_level=0.4, random_state=0)
fresh = make_bimodal(1000, noise_level=0.4, random_state=1)

posterior = ReconstructionINN(random_state=0).fit(problem.X, problem.Y)
maximum = DivergenceRegularizedINN(random_state=0).fit(problem.X, problem.Y)

# %%
# The oracles know the prior; the networks have seen pairs only.
oracles = {
    "posterior mean": posterior_mean(problem.prior, fresh.Y, noise_level=0.4),
    "MAP": map_estimate(problem.prior, fresh.Y, noise_level=0.4),
}
for estimator, name in ((posterior, "posterior mean"), (maximum, "MAP")):
    distance = np.linalg.norm(estimator.predict(fresh.Y) - oracles[name], axis=1)
    print(f"{type(estimator).__name__}: median distance to the {name} {np.median(distance):.3f}")

# %%
# See how the divergence-trained network pulls the grid to the two peaks, and the other one less so.
figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
for ax, estimator in zip(axes, (posterior, maximum), strict=True):
    DeformedGridDisplay.from_estimator(estimator, ax=ax, title=type(estimator).__name__)
    ax.plot(*problem.prior.means.T, "k+", markersize=10)
figure.suptitle("Where an equidistant grid of measurements is sent; + marks the prior's peaks")
