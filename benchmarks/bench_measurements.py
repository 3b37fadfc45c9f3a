"""What do unequal and correlated noise, outliers and missing readings cost?

Mixtures of Gaussians, seen through random operators; our estimators get the operator and a seed,
and nothing else. Prints the RMSE of the reconstructions over that of the exact posterior mean, with
the noise as the estimator finds it, made white by hand, and for MLPRegressor; for outliers, "by
hand" leaves the rows with outliers out. A second table has other operators than those of the
training, with RMSE: digits that were blurred and lose half of their pixels, digits to be deblurred
by what was trained to denoise, and a sensor that saturates; Ridge and MLPRegressor are trained for
each of these. Exits with status 1 when a mean over the seeds is past its threshold.
"""

import warnings
from functools import partial

import numpy as np
from baselines import regression, untuned_regression
from measuring import Report, arguments
from sklearn.impute import SimpleImputer

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_deblurring_digits, make_mixture, make_saturating_sensor
from skinvbayes.numerics.errors import entry_rmse
from skinvbayes.oracles import posterior_mean

N_TRAIN, N_TEST, D = 4000, 2000, 4
AS_BY_HAND = 1.05  # times the error with the noise made white by hand
COVERAGE = 87, 93  # per cent, of intervals of 90 %
COLUMNS = [
    *("measurements", "Reconstruction", "by hand", "Divergence", "Divergence by hand"),
    *("MLPRegressor", "coverage of Reconstruction, %", "coverage of Divergence, %"),
]


def unequal(m):
    return np.diag(np.geomspace(0.3, 3, m) ** 2)


def correlated(m):
    return 0.8 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m)))


def with_noise(covariance, data, rng):
    """Measurements with noise of a covariance, relative to that of the problem."""
    root = data.noise_level * np.linalg.cholesky(covariance(len(data.operator)))
    return [
        X @ data.operator.T + rng.standard_normal((len(X), len(root))) @ root.T
        for X in (data.X_train, data.X_test)
    ], root


def measure(data, seed, covariance):
    """The row of a problem with noise that is not white."""
    (Y, T), root = with_noise(covariance, data, np.random.default_rng(seed))
    known = {"operator": data.operator, "noise_covariance": root @ root.T}
    best = entry_rmse(posterior_mean(data.prior, T, **known), data.X_test)
    W = np.linalg.inv(root)
    row, covered = [], []
    for cls in (ReconstructionINN, DivergenceRegularizedINN):
        ours = cls(operator=data.operator, random_state=seed).fit(data.X_train, Y)
        by_hand = cls(operator=W @ data.operator, random_state=seed).fit(data.X_train, Y @ W.T)
        row += [entry_rmse(ours.predict(T), data.X_test) / best]
        row += [entry_rmse(by_hand.predict(T @ W.T), data.X_test) / best]
        covered.append(coverage(ours, T, data.X_test))
    regressor = untuned_regression("MLPRegressor", data.X_train, Y, seed)
    return [*row, entry_rmse(regressor(T), data.X_test) / best, *covered]


def measure_outliers(data, seed):
    """One reading in a hundred is off by 20 δ."""
    rng = np.random.default_rng(seed)
    bad = rng.uniform(size=data.Y_train.shape) < 0.01
    off = 20 * data.noise_level * rng.choice([-1, 1], bad.shape)
    spoilt, kept = np.where(bad, data.Y_train + off, data.Y_train), ~bad.any(axis=1)
    best = exact_error(data)
    row, covered = [], []
    for cls in (ReconstructionINN, DivergenceRegularizedINN):
        estimator = cls(operator=data.operator, random_state=seed)
        ours = estimator.fit(data.X_train, spoilt).predict(data.Y_test)
        covered.append(coverage(estimator, data.Y_test, data.X_test))
        by_hand = estimator.fit(data.X_train[kept], data.Y_train[kept]).predict(data.Y_test)
        row += [entry_rmse(found, data.X_test) / best for found in (ours, by_hand)]
    regressor = untuned_regression("MLPRegressor", data.X_train, spoilt, seed)
    return [*row, entry_rmse(regressor(data.Y_test), data.X_test) / best, *covered]


def measure_missing(data, seed):
    """One reading in ten is missing; MLPRegressor gets means in their place."""
    rng = np.random.default_rng(seed)
    Y, T = (with_holes(part, rng) for part in (data.Y_train, data.Y_test))
    best = entry_rmse(exact_with_holes(data, T), data.X_test)
    estimator = DivergenceRegularizedINN(operator=data.operator, random_state=seed)
    estimator.fit(data.X_train, Y)
    imputer = SimpleImputer().fit(Y)
    regressor = untuned_regression("MLPRegressor", data.X_train, imputer.transform(Y), seed)
    found = estimator.predict(T), regressor(imputer.transform(T))
    ours, theirs = (entry_rmse(x, data.X_test) / best for x in found)
    covered = coverage(estimator, T, data.X_test)
    return [np.nan, np.nan, ours, np.nan, theirs, np.nan, covered]


def with_holes(Y, rng):
    missing = rng.uniform(size=Y.shape) < 0.1
    missing[missing.all(axis=1), 0] = False
    return np.where(missing, np.nan, Y)


def exact_with_holes(data, Y):
    """The posterior mean of every row, given the readings that there are."""
    found = np.empty((len(Y), D))
    for pattern in np.unique(~np.isnan(Y), axis=0):
        rows = (~np.isnan(Y) == pattern).all(axis=1)
        known = {"operator": data.operator[pattern], "noise_level": data.noise_level}
        found[rows] = posterior_mean(data.prior, Y[rows][:, pattern], **known)
    return found


def exact_error(data):
    known = {"operator": data.operator, "noise_level": data.noise_level}
    return entry_rmse(posterior_mean(data.prior, data.Y_test, **known), data.X_test)


def coverage(estimator, Y, X):
    lower, upper = estimator.posterior_interval(Y)
    return float(100 * ((lower <= X) & (upper >= X)).mean())


def measure_half_missing(seed):
    """Trained to deblur, and half of the pixels of every row are missing."""
    digits = load_deblurring_digits(random_state=seed)
    rng = np.random.default_rng(seed)
    Y, T = (half_missing(part, rng) for part in (digits.Y_train, digits.Y_test))
    known = {"operator": digits.operator, "noise_level": digits.noise_level}
    estimator = DivergenceRegularizedINN(random_state=seed, **known)
    estimator.fit(digits.X_train, digits.Y_train)
    imputer = SimpleImputer().fit(Y)
    Y, filled = imputer.transform(Y), imputer.transform(T)
    return against_regressors(estimator, T, digits.X_test, (digits.X_train, Y, filled), seed)


def half_missing(Y, rng):
    ranks = rng.uniform(size=Y.shape).argsort(axis=1).argsort(axis=1)
    return np.where(2 * ranks < Y.shape[1], np.nan, Y)


def measure_denoiser(seed):
    """Trained to denoise, without pairs, and asked to deblur."""
    digits = load_deblurring_digits(random_state=seed)
    n_pixels, known = digits.X_train.shape[1], {"noise_level": digits.noise_level}
    denoiser = DivergenceRegularizedINN(operator=np.eye(n_pixels), random_state=seed, **known)
    estimator = denoiser.fit(digits.X_train).adapt(operator=digits.operator, **known)
    T, pairs = digits.Y_test, (digits.X_train, digits.Y_train, digits.Y_test)
    return against_regressors(estimator, T, digits.X_test, pairs, seed)


def measure_sensor(seed):
    """A nonlinear operator, given with its derivative."""
    sensor = make_saturating_sensor(random_state=seed)
    estimator = DivergenceRegularizedINN(operator=sensor.forward, random_state=seed)
    estimator.fit(sensor.X_train, sensor.Y_train)
    pairs = sensor.X_train, sensor.Y_train, sensor.Y_test
    return against_regressors(estimator, sensor.Y_test, sensor.X_test, pairs, seed)


def against_regressors(estimator, T, X_test, pairs, seed):
    """RMSE and coverage of an estimator, and RMSE of regressors that were trained for it."""
    X, Y, filled = pairs
    row = [entry_rmse(estimator.predict(T), X_test), coverage(estimator, T, X_test)]
    for name in ("Ridge", "MLPRegressor"):
        row.append(entry_rmse(regression(name, X, Y, seed)(filled), X_test))
    return row


OTHERS = {  # with the largest RMSE
    "deblurring, half of the pixels missing": (measure_half_missing, 0.168),
    "denoising, then deblurring": (measure_denoiser, 0.131),
    "saturating sensor": (measure_sensor, 0.071),
}
KINDS = {
    "unequal, × 10": partial(measure, covariance=unequal),
    "correlated, AR(1) 0.8": partial(measure, covariance=correlated),
    "1 % outliers": measure_outliers,
    "10 % missing": measure_missing,
}


def require(report, name, row):
    values = dict(zip(COLUMNS[1:], row, strict=True))
    for cls, hand in (("Reconstruction", "by hand"), ("Divergence", "Divergence by hand")):
        if not np.isnan(values[hand]):
            report.require(f"{name}: {cls}", values[cls], AS_BY_HAND * values[hand])
        covered = values[f"coverage of {cls}, %"]
        if not np.isnan(covered):
            report.require_at_least(f"{name}: coverage of {cls}", covered, COVERAGE[0])
            report.require(f"{name}: coverage of {cls}", covered, COVERAGE[1])
    if not np.isnan(values["Reconstruction"]):
        report.require(f"{name}: Reconstruction (MLP)", values["Reconstruction"], row[4])


def main():
    options = arguments(
        __doc__.splitlines()[0],
        seeds={"type": int, "default": 3, "help": "to average over"},
    )
    warnings.simplefilter("ignore", UserWarning)  # the outliers are known
    report = Report("measurements", COLUMNS)
    shapes = ("tall",) if options.quick else ("tall", "square")
    for shape in shapes:
        for kind, measured in KINDS.items():
            rows = []
            for seed in range(1 if options.quick else options.seeds):
                settings = {"n_features": D, "operator": shape, "random_state": seed}
                rows.append(measured(make_mixture(N_TRAIN, N_TEST, **settings), seed))
            means = np.mean(rows, axis=0).tolist()
            report.add(f"{shape}, {kind}", *means)
            require(report, f"{shape}, {kind}", means)
    if not options.quick:
        measure_others(report, options.seeds)
    report.finish()


def measure_others(report, n_seeds):
    """The second table; figures past their thresholds go to the report of the first one."""
    columns = ["measurements", "Divergence", "coverage, %", "Ridge", "MLPRegressor"]
    others = Report("other_measurements", columns)
    for name, (measured, limit) in OTHERS.items():
        means = np.mean([measured(seed) for seed in range(n_seeds)], axis=0).tolist()
        others.add(name, *means)
        report.require(name, means[0], limit)
        report.require_at_least(f"{name}: coverage", means[1], 86)
        report.require(f"{name}: coverage", means[1], 94)
    others.write()


if __name__ == "__main__":
    main()
