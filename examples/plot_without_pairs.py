"""
Are clean signals enough?
=========================

Pairs of signals and measurements are costly, while clean signals, the operator and the noise level
are often at hand. ``fit(X)`` then draws the measurements. How many pairs would do as well?
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_mixture
from skinvbayes.oracles import posterior_mean

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 2000))
data = make_mixture(n_samples, 1000, n_features=8, operator="tall", random_state=0)


def error(reconstructions):
    return np.sqrt(((reconstructions - data.X_test) ** 2).mean())


# %%
# The recipe for clean signals and a known operator:
#
# 1. ``X``: the signals, one in each row;
# 2. ``operator``: a matrix of shape (n_measurements, n_features), or any LinearOperator;
# 3. ``noise_level``: its standard deviation in the units of a measurement, one number or one for
#    each; ``noise_covariance`` where it is correlated;
# 4. ``fit(X)``, then ``predict`` with real measurements.
known = {"operator": data.operator, "noise_level": data.noise_level, "random_state": 0}
without = error(DivergenceRegularizedINN(**known).fit(data.X_train).predict(data.Y_test))
noise = {"operator": data.operator, "noise_level": data.noise_level}
smallest = error(posterior_mean(data.prior, data.Y_test, **noise))
print(f"{n_samples} signals without pairs: RMSE {without:.4f}; exact posterior mean {smallest:.4f}")

# %%
# The same estimator from pairs, and Ridge, which needs pairs.
n_pairs = [n for n in (50, 200, 500, 2000) if n <= n_samples]
paired, ridge = [], []
for n in n_pairs:
    X, Y = data.X_train[:n], data.Y_train[:n]
    paired.append(error(DivergenceRegularizedINN(**known).fit(X, Y).predict(data.Y_test)))
    ridge.append(error(RidgeCV(np.logspace(-4, 3, 15)).fit(Y, X).predict(data.Y_test)))
    print(f"{n} pairs: RMSE {paired[-1]:.4f}, Ridge {ridge[-1]:.4f}")

# %%
# Signals alone do as well as just as many pairs: the measurements of pairs tell nothing new, where
# operator and noise are known.
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ax.semilogx(n_pairs, ridge, "s-", color="tab:red", label="Ridge, fit(Y, X)")
ax.semilogx(n_pairs, paired, "o-", color="tab:blue", label="fit(X, Y)")
ax.axhline(
    without, color="tab:blue", linestyle="--", label=f"fit(X), {n_samples} signals, no pairs"
)
ax.axhline(smallest, color="k", linestyle=":", label="exact posterior mean")
ax.set(
    xlabel="number of pairs",
    ylabel="RMSE of new reconstructions",
    title="Signals alone, beside pairs",
    xticks=n_pairs,
    xticklabels=n_pairs,
)
ax.minorticks_off()
ax.legend()
