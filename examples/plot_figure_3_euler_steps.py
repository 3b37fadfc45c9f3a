"""
Why is the MAP estimate sharper than the posterior mean?
========================================================

For denoising, y = x + noise, both are one step of length δ² on a score. Tweedie's formula makes the
posterior mean an *explicit* Euler step, x̂ = y + δ² ∇log p(y) with the density of the measurements,
a blurred one. The condition of the MAP estimate is an *implicit* step, x̂ = y + δ² ∇log p(x̂) with
the density of the signals, taken at the reconstruction. Do trained networks do the same?
This is Figure 3 of the paper; ``python -m skinvbayes reproduce --figure 3`` has it in full.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.diagnostics import stationarity, tweedie_gap
from skinvbayes.plotting import DeformedGridDisplay, VectorFieldDisplay

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 4000))
noise_level = 0.3
train, test = (make_bimodal(n_samples, noise_level=noise_level, random_state=i) for i in (0, 1))
mean = ReconstructionINN(random_state=0).fit(train.X, train.Y)
maximum = DivergenceRegularizedINN(random_state=0).fit(train.X, train.Y)

# %%
# Tweedie's formula holds to rounding; the networks satisfy their equations to about one per cent of
# the data's size.
print(f"Tweedie: {tweedie_gap(test.prior, test.Y, noise_level=noise_level).max():.1e}")
for estimator in (mean, maximum):
    residual = np.median(stationarity(estimator, test.Y, test.prior))
    print(f"{type(estimator).__name__}: median residual {100 * residual:.2f} %")

# %%
# The step that a network has learned is its prior term, G x − φ(x). Left it starts at the
# measurement and ends at the reconstruction. Right it is drawn at the reconstructions, where the
# score was evaluated: it points to the nearest peak, however far away the measurement was.
nodes = DeformedGridDisplay.grid(n_lines=11, n_points=11)[: 11**2]
figure, axes = plt.subplots(1, 2, figsize=(9.6, 5.3), layout="constrained")
for ax, estimator in zip(axes, (mean, maximum), strict=True):
    found = estimator.predict(nodes)
    DeformedGridDisplay.from_estimator(estimator, n_lines=11, ax=ax)
    foot = nodes if estimator is mean else found
    ax.plot(*foot.T, "k.", markersize=3)
    VectorFieldDisplay.from_predictions(foot, estimator.prior_term(found), ax=ax, width=0.003)
    ax.plot(*train.prior.means.T, "k+", markersize=10)
axes[0].set_title("ReconstructionINN: explicit step,\narrows at the measurements")
axes[1].set_title("DivergenceRegularizedINN: implicit step,\narrows at the reconstructions")
