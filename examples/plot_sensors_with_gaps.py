"""
What is going on in a boiler whose sensors fail now and then?
=============================================================

Six sensors watch the temperature, the pressure and the flow of a boiler, each in its own units. Any
of their readings may be missing. The data frame is given as it is: no scaler, no imputation. How
much is lost by the gaps, and how does that compare with Ridge and gradient boosting?
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinvbayes import DivergenceRegularizedINN

n_samples, n_test = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 2000)), 1000
rng = np.random.default_rng(0)

# %%
# The load moves all three, each along another curve, and other causes move them a little.
load = rng.uniform(0.1, 1, (n_samples + n_test, 1))
signal_std = np.array([8.0, 12, 0.08])
X = np.hstack([160 * np.sqrt(load), 250 * load**3, 1.6 * load]) + signal_std * rng.standard_normal(
    (len(load), 3)
)

# %%
# Every sensor reacts to a mixture of the three; its data sheet says how strongly, and nothing is
# known of the noise.
sensors = ["thermocouple_mV", "infrared_V", "gauge_kPa", "strain_ppm", "turbine_Hz", "drop_Pa"]
sheet = np.array(
    [[0.04, 0, 0], [0.01, 0.002, 0], [0.2, 1, 0], [3, 4, 0], [0, 0.01, 30], [0, 5, 700]]
)
noise_std = np.array([1.6, 0.5, 40, 300, 12, 600])
Y = X @ sheet.T + noise_std * rng.standard_normal((len(X), 6))
missing = rng.random(Y.shape) < 0.15
missing[missing.all(axis=1)] = False  # a row without any reading is no measurement
Y[missing] = np.nan
try:
    import pandas
except ImportError:
    print("without pandas the sensors have no names: pip install pandas")
else:
    X = pandas.DataFrame(X, columns=["temperature_K", "pressure_kPa", "flow_l_s"])
    Y = pandas.DataFrame(Y, columns=sensors)
X_train, X_test, Y_train, Y_test = X[:n_samples], X[n_samples:], Y[:n_samples], Y[n_samples:]

# %%
# The noise is found in the units of each sensor, although many readings are missing.
estimator = DivergenceRegularizedINN(operator=sheet, random_state=0).fit(X_train, Y_train)
names = getattr(estimator, "measurement_names_in_", sensors)
for name, found, true in zip(names, estimator.noise_std_, noise_std, strict=True):
    print(f"{name}: noise {found:.3g}, in truth {true:.3g}")

# %%
# Ridge with imputed means, and gradient boosting, which takes gaps as they are.
usual = {
    "Ridge": make_pipeline(StandardScaler(), SimpleImputer(), RidgeCV()),
    "gradient boosting": MultiOutputRegressor(HistGradientBoostingRegressor(random_state=0)),
}
print(f"{type(estimator).__name__}: R² {estimator.score(X_test, Y_test):.3f}")
for name, regressor in usual.items():
    found = regressor.fit(Y_train, X_train).predict(Y_test)
    print(f"{name}: R² {r2_score(X_test, found, multioutput='variance_weighted'):.3f}")
# %%
# Gaps cost accuracy, and the error bars say so. Where so much is missing that several loads explain
# the rest, the rows are named in a warning.
found, std = estimator.predict(Y_test, return_std=True)
n_missing = np.isnan(np.asarray(Y_test)).sum(axis=1)
error = np.asarray(found - X_test)
print(f"within the 90 % intervals: {100 * (np.abs(error) <= 1.645 * std).mean():.1f} %")
for gaps in (0, 2):
    rms, spread = (np.sqrt((part[n_missing == gaps, 0] ** 2).mean()) for part in (error, std))
    print(f"{gaps} missing: RMSE of the temperature {rms:.1f} K, standard deviation {spread:.1f} K")
labels = ("temperature above 300 K (K)", "pressure (kPa)", "flow (l/s)")
figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
for ax, label, truth, guess, bar in zip(
    axes, labels, np.asarray(X_test).T, found.T, std.T, strict=True
):
    for gaps, colour in ((0, "tab:blue"), (2, "tab:orange")):
        rows = np.flatnonzero(n_missing == gaps)[:60]
        style = {"fmt": ".", "color": colour, "elinewidth": 0.8}
        ax.errorbar(truth[rows], guess[rows], 1.645 * bar[rows], **style, label=f"{gaps} missing")
    ax.axline((truth.mean(), truth.mean()), slope=1, color="k", linestyle=":", linewidth=1)
    ax.set(xlabel=f"true {label}", ylabel="reconstructed, with 90 % interval")
axes[0].legend()
