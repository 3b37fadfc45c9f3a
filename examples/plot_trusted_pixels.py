"""
Which pixels of a deblurred digit can be trusted?
=================================================

The inverse of the trained network is the reconstruction, and its derivative says how sure it is:
where the data and the prior leave a pixel open, the posterior is wide. Does it say so honestly?
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import load_deblurring_digits
from skinvbayes.plotting import ImagesDisplay, UncertaintyDisplay

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 1400))
data = load_deblurring_digits()
estimator = DivergenceRegularizedINN(operator=data.operator, max_iter=60, random_state=0)
estimator.fit(data.X_train[:n_samples], data.Y_train[:n_samples])

# %%
# Reconstruction, standard deviation, and two signals that may as well have led to the measurement.
Y = data.Y_test[:8]
found, std = estimator.predict(Y, return_std=True)
samples = estimator.sample_posterior(Y, n_samples=2, random_state=0)
rows = {
    "truth": data.X_test[:8],
    "measurement": Y,
    "reconstruction": found,
    "4 × standard deviation": 4 * std,
    "sample of the posterior": samples[:, 0],
    "another": samples[:, 1],
}
ImagesDisplay.from_predictions(rows, image_shape=data.image_shape, errors=["reconstruction"])

# %%
# On all test images, over the pixels that vary: how many of the true values are within the 90 %
# intervals, and are the errors large where the standard deviation is?
vary = data.X_train.std(axis=0) > 0.05
found, std = (part[:, vary] for part in estimator.predict(data.Y_test, return_std=True))
lower, upper = (part[:, vary] for part in estimator.posterior_interval(data.Y_test, coverage=0.9))
truth = data.X_test[:, vary]
print(f"within the 90 % intervals: {100 * ((lower <= truth) & (truth <= upper)).mean():.1f} %")
print(f"rank correlation of |error| and std: {spearmanr(np.abs(found - truth), std, None)[0]:.2f}")

# %%
# The curves of a calibrated estimator are on the diagonals.
figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for ax, kind in zip(axes, ("coverage", "error"), strict=True):
    UncertaintyDisplay.from_predictions(truth, found, std, kind=kind, ax=ax, name="digits")
