"""
Detectors die, and the lens is changed: does the network need new training?
===========================================================================

A network learns to deblur digits once. Then detectors fail, other ones for every image, and another
lens blurs in another way. What was learned of digits holds for all of that: NaN in Y marks what is
missing, and ``adapt`` takes the new operator. Ridge and MLPRegressor have to be trained for it.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import load_deblurring_digits
from skinvbayes.plotting import ImagesDisplay

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 1400))
data = load_deblurring_digits()
X, X_test = data.X_train[:n_samples], data.X_test[:100]
rng = np.random.default_rng(0)

# %%
# Trained once, with all detectors and the first lens.
estimator = DivergenceRegularizedINN(
    operator=data.operator, hidden_layer_sizes=64, max_iter=60, random_state=0
).fit(X, data.Y_train[:n_samples])

# %%
# Another lens blurs along the columns. Nothing is trained: the copy knows the new lens, and which
# detectors are dead is said by each row. Where too little is left for one clear answer, a warning
# names the rows.
pixels = np.eye(64).reshape(64, 8, 8)
lens = np.transpose([gaussian_filter(p, (1.2, 0.3), mode="constant").ravel() for p in pixels])
lens /= np.linalg.norm(lens, 2)
adapted = estimator.adapt(operator=lens, noise_level=0.1)


def measured(signals, share):
    """What the new lens shows, with NaN for a share of the detectors that differ by the row."""
    Y = signals @ lens.T + 0.1 * rng.standard_normal(signals.shape)
    return np.where(rng.random(Y.shape) < share, np.nan, Y)


# %%
# Ridge and MLPRegressor are trained again for every share, with the mean where a value is missing.
def error(found):
    return np.sqrt(((found - X_test) ** 2).mean())


shares = (0.0, 0.2, 0.4)
usual = {
    "Ridge, trained for each": RidgeCV(np.logspace(-3, 3, 13)),
    "MLPRegressor, trained for each": MLPRegressor(
        hidden_layer_sizes=256, early_stopping=True, random_state=0
    ),
}
errors = {name: [] for name in ("adapted, nothing trained", *usual)}
for share in shares:
    Y, Y_test = measured(X, share), measured(X_test, share)
    errors["adapted, nothing trained"].append(error(adapted.predict(Y_test)))
    for name, regressor in usual.items():
        fitted = make_pipeline(SimpleImputer(), regressor).fit(Y, X)
        errors[name].append(error(fitted.predict(Y_test)))
    print(f"{100 * share:.0f} % dead:", ", ".join(f"{k} {v[-1]:.3f}" for k, v in errors.items()))

# %%
# Images with 40 % of the detectors dead, and all errors.
Y_test = measured(X_test, 0.4)
rows = {
    "truth": X_test,
    "measured, dead is white": Y_test,
    "reconstruction": adapted.predict(Y_test),
}
ImagesDisplay.from_predictions(
    {name: images[:8] for name, images in rows.items()},
    image_shape=data.image_shape,
    errors=["reconstruction"],
)
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for (name, values), style in zip(errors.items(), ("o-", "s--", "^--"), strict=True):
    ax.plot([100 * share for share in shares], values, style, label=name)
ax.set(
    xlabel="dead detectors (%)",
    ylabel="RMSE of the grey values",
    title="Digits through another lens, with dead detectors",
)
ax.legend()
