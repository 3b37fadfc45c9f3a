"""Mean or MAP: which estimator is better, and which rows have two answers?

Mixtures of Gaussians whose posteriors have several peaks for many of the measurements. Prints how
far the root mean square errors of both estimators are above the exact posterior mean's; how often
the reconstruction of the divergence loss is more probable than that of the reconstruction loss;
and whether rows whose posterior mean lies between peaks are told by their standard deviations.

A mean lies between peaks where its posterior density is less than 1/e of that of the exact MAP
estimate. The rule names the rows in which the standard deviation of ReconstructionINN is above 0.8
times that of the training signals, in at least one feature.

Exits with status 1 where the error of ReconstructionINN is not the smaller one.
"""

import numpy as np
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_mixture
from skinvbayes.numerics.errors import row_rmse
from skinvbayes.oracles import map_estimate, posterior_mean

PROBLEMS = {  # features, operator
    "d = 2, identity": (2, "identity"),
    "d = 2, wide": (2, "wide"),
    "d = 3, square": (3, "square"),
    "d = 4, tall": (4, "tall"),
    "d = 6, wide": (6, "wide"),
}
QUICK = ("d = 2, identity", "d = 3, square")
N_TRAIN, N_TEST = 1000, 1000
WIDE = 0.8  # of the signals' standard deviation
COLUMNS = [
    "problem",
    "excess of Reconstruction, %",
    "excess of Divergence, %",
    "Divergence more probable, % of rows",
    "mean between peaks, % of rows",
    "of these named, %",
    "of the named right, %",
]


def log_posterior(data, X):
    """Logarithm of the posterior density of each row of X, up to a constant of its measurement."""
    residual = (data.Y_test - X @ data.operator.T) / data.noise_level
    return data.prior.log_density(X) - (residual**2).sum(axis=1) / 2


def measure(n_features, operator, seed):
    """Errors, densities, and which rows lie between peaks and are named, for one seed."""
    settings = {"n_features": n_features, "operator": operator, "random_state": seed}
    data = make_mixture(N_TRAIN, N_TEST, **settings)
    data.operator = np.eye(n_features) if data.operator is None else np.asarray(data.operator)
    pairs = data.X_train, data.Y_train
    given = {"operator": data.operator, "random_state": seed}
    mean, std = ReconstructionINN(**given).fit(*pairs).predict(data.Y_test, return_std=True)
    mode = DivergenceRegularizedINN(**given).fit(*pairs).predict(data.Y_test)
    known = {"operator": data.operator, "noise_level": data.noise_level}
    exact_mean, exact_mode = (
        oracle(data.prior, data.Y_test, **known) for oracle in (posterior_mean, map_estimate)
    )
    best = row_rmse(exact_mean, data.X_test)
    gap = log_posterior(data, exact_mode) - log_posterior(data, exact_mean)
    return {
        "excess": [100 * (row_rmse(X, data.X_test) / best - 1) for X in (mean, mode)],
        "probable": log_posterior(data, mode) > log_posterior(data, mean),
        "between": gap > 1,
        "width": (std / data.X_train.std(axis=0)).max(axis=1),
    }


def percent(rows):
    """Mean of booleans in per cent; NaN of none."""
    return 100 * float(np.mean(rows)) if len(rows) else np.nan


def main():
    options = arguments(
        __doc__.splitlines()[0],
        only={"nargs": "+", "choices": PROBLEMS, "metavar": "NAME", "help": "some of the problems"},
        seeds={"type": int, "default": 1, "help": "to average over"},
    )
    report = Report("two_answers", COLUMNS)
    for name in options.only or (QUICK if options.quick else PROBLEMS):
        found = [measure(*PROBLEMS[name], seed) for seed in range(options.seeds)]
        excess = np.mean([one["excess"] for one in found], axis=0).tolist()
        probable, between, width = (
            np.concatenate([one[part] for one in found])
            for part in ("probable", "between", "width")
        )
        named = width > WIDE
        shares = probable, between, named[between], between[named]
        report.add(name, *excess, *map(percent, shares))
        report.require(f"{name}: excess of Reconstruction", excess[0], excess[1])
    report.finish()


if __name__ == "__main__":
    main()
