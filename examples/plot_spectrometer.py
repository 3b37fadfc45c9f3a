"""
How far can a spectrum be trusted where the detector is noisy?
==============================================================

A spectrometer smears the lines of a spectrum, and half of its channels are ten times noisier than
the others. Nobody says so to the estimator: it finds the noise of every channel in the residuals of
the pairs, gives noisy channels little weight, and widens its error band. Is the band right?
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.plotting import SignalDisplay

n_samples, n_test = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 500)), 300
rng = np.random.default_rng(1)

# %%
# Spectra are the lines of one of four materials, more or less of it, over a broad background.
wavelength = np.linspace(400, 700, 60)  # nm
catalogue = np.random.default_rng(0)
centres, heights = catalogue.uniform(400, 700, (4, 8, 1)), catalogue.uniform(0.2, 1, (4, 8, 1))
lines = (heights * np.exp(-(((wavelength - centres) / 6) ** 2) / 2)).sum(axis=1)


def spectra(n):
    amount, background = rng.gamma(16, 1 / 16, (n, 1)), rng.uniform(0, 0.5, (n, 1))
    place = rng.uniform(450, 650, (n, 1))
    broad = background * np.exp(-(((wavelength - place) / 80) ** 2) / 2)
    return amount * lines[rng.integers(4, size=n)] + broad


# %%
# 200 channels with a Gaussian response of 8 nm; the noise of those beyond 550 nm is tenfold.
channels = np.linspace(400, 700, 200)  # nm
response = np.exp(-(((channels[:, None] - wavelength) / 8) ** 2) / 2)
response /= response.sum(axis=1, keepdims=True)
noise_std = np.where(channels < 550, 0.05, 0.5)
X_train, X_test = spectra(n_samples), spectra(n_test)
Y_train, Y_test = (
    X @ response.T + noise_std * rng.standard_normal((len(X), 200)) for X in (X_train, X_test)
)
estimator = DivergenceRegularizedINN(operator=response, random_state=0)
estimator.fit(X_train, Y_train)
ratio = estimator.noise_std_ / noise_std
print(f"noise found over true noise: between {ratio.min():.2f} and {ratio.max():.2f}")

# %%
# The errors beside those of Ridge, to which all channels are alike, and the share of true values
# within the 90 % intervals.
ridge = RidgeCV(np.logspace(-4, 4, 17)).fit(Y_train, X_train)
lower, upper = estimator.posterior_interval(Y_test, coverage=0.9)
within = (lower <= X_test) & (X_test <= upper)
for name, part in (("quiet half", wavelength < 550), ("noisy half", wavelength >= 550)):
    error, usual = (
        np.sqrt(((found - X_test)[:, part] ** 2).mean())
        for found in (estimator.predict(Y_test), ridge.predict(Y_test))
    )
    print(
        f"{name}: RMSE {error:.4f}, Ridge {usual:.4f}; mean width of the 90 % intervals "
        f"{(upper - lower)[:, part].mean():.3f}, coverage {100 * within[:, part].mean():.1f} %"
    )

# %%
# A measurement above, its reconstruction below: the band is wider where the channels are noisy.
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7.5, 6), layout="constrained")
axes[0].plot(channels, Y_test[1], ".", markersize=3, color="grey")
axes[0].set(ylabel="measured intensity", title="Channels beyond 550 nm are ten times noisier")
SignalDisplay.from_estimator(
    *(estimator, Y_test),
    **{"X": X_test, "rows": 1, "grid": wavelength, "ax": axes[1]},
    **{"xlabel": "wavelength (nm)", "ylabel": "intensity"},
)
axes[1].plot(wavelength, ridge.predict(Y_test)[1], color="tab:red", linewidth=1, label="Ridge")
axes[1].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
