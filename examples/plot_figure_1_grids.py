"""
What do the four losses make of the same data?
==============================================

Signals with two modes are seen through noise, A = I. Four networks of the same shape learn the
forward map from the same pairs, each with another loss. Which point estimators are their inverses?
This is Figure 1 of the paper; ``python -m skinvbayes reproduce --figure 1`` has it in full.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import make_bimodal
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.plotting import DeformedGridDisplay

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 4000))
noise_level = 0.4
train, test = (make_bimodal(n_samples, noise_level=noise_level, random_state=i) for i in (0, 1))

# %%
# Two oracles know the prior; the four estimators have only seen pairs.
reconstruct = {
    cls.__name__: cls(random_state=0).fit(train.X, train.Y).predict
    for cls in (ApproximationINN, ReconstructionINN, LogDetRegularizedINN, DivergenceRegularizedINN)
}
reconstruct |= {
    "posterior mean": lambda Y: posterior_mean(train.prior, Y, noise_level=noise_level),
    "MAP": lambda Y: map_estimate(train.prior, Y, noise_level=noise_level),
}

# %%
# How far is each from the two oracles, at new measurements?
found = {name: function(test.Y) for name, function in reconstruct.items()}
for name, X in found.items():
    to_mean, to_map = (
        np.sqrt(((X - found[oracle]) ** 2).sum(axis=1).mean())
        for oracle in ("posterior mean", "MAP")
    )
    print(f"{name}: RMS distance {to_mean:.3f} to the posterior mean, {to_map:.3f} to the MAP")

# %%
# Where an equidistant grid of measurements is sent. The approximation loss does not regularise: the
# grid stays as it is. The reconstruction loss gives the posterior mean; the log-determinant a
# smoothed one; the divergence loss pulls towards the peaks, as the MAP estimate does.
figure, axes = plt.subplots(2, 3, figsize=(10.5, 7.2), layout="constrained")
order = [
    *("ApproximationINN", "ReconstructionINN", "posterior mean"),
    *("LogDetRegularizedINN", "DivergenceRegularizedINN", "MAP"),
]
for ax, name in zip(axes.flat, order, strict=True):
    DeformedGridDisplay.from_function(reconstruct[name], ax=ax, title=name)
    ax.plot(*train.prior.means.T, "k+", markersize=10, label="peaks of the prior")
figure.suptitle("Where an equidistant grid of measurements is sent")
handles, labels = axes[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=3)
