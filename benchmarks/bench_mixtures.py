"""How far are the defaults from the posterior mean, for signals from mixtures of Gaussians?

Random mixtures with full covariances, seen through operators of all shapes; our estimators get the
operator and a seed, and nothing else. Prints the excess of every method, the RMSE of its
reconstructions above that of the exact posterior mean in per cent, and for ReconstructionINN the
median error of its standard deviations and the coverage of its intervals of 90 %. Exits with status
1 when a mean over the seeds is past its threshold.
"""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from baselines import lmmse, regression, untuned_regression
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_mixture
from skinvbayes.oracles import map_estimate, posterior_covariance, posterior_mean

N_TEST = 2000
COVERAGE = 88.5, 91.5  # per cent, of intervals of 90 %
BETTER_THAN_MLP = 2  # times
GOOD_MAP = 1.0  # excess of the MAP estimate, in per cent, below which the divergence follows it
QUICK = ("d = 2, identity", "d = 8, tall, 500 pairs")


@dataclass
class Problem:
    """A problem of make_mixture, with thresholds in per cent.

    Parameters
    ----------
    excess : float
        Largest excess of ReconstructionINN.
    divergence : tuple of float
        Excess that DivergenceRegularizedINN had in scalar units, without natural coordinates, for
        the seeds 0, 1 and 2.
    std : float, default=3
        Largest median error of the standard deviations of ReconstructionINN.
    n_features, operator, n_train
        Arguments of make_mixture.
    """

    excess: float
    divergence: tuple
    n_features: int
    operator: str = "identity"
    n_train: int = 4000
    std: float = 3.0


PROBLEMS = {
    "d = 2, identity": Problem(0.3, (0.57, 3.06, 1.31), 2),
    "d = 2, tall": Problem(0.9, (0.46, 1.57, 1.37), 2, "tall"),
    "d = 2, wide": Problem(0.12, (10.99, 26.4, 18.31), 2, "wide"),
    "d = 2, square": Problem(0.1, (3.64, 1.92, 7.87), 2, "square"),
    "d = 8, identity": Problem(1.1, (0.88, 1.75, 1.3), 8),
    "d = 8, square": Problem(1.7, (4.25, 4.5, 69.04), 8, "square"),
    "d = 8, tall": Problem(2.0, (1.28, 5.33, 2.98), 8, "tall"),
    "d = 8, wide": Problem(0.8, (85.06, 23.67, 83.6), 8, "wide"),
    "d = 8, condition 100": Problem(1.5, (92.91, 35.06, 29.93), 8, "ill_conditioned", std=8.0),
    "d = 16, identity": Problem(1.4, (1.66, 2.89, 1.19), 16),
    "d = 2, identity, 20,000 pairs": Problem(0.17, (1.03, 3.74, 1.97), 2, n_train=20_000),
    "d = 8, tall, 500 pairs": Problem(6.6, (8.16, 12.07, 8.38), 8, "tall", 500),
}
METHODS = [
    *("ReconstructionINN", "DivergenceRegularizedINN", "LMMSE", "MLPRegressor"),
    *("k nearest neighbours", "exact MAP"),
]
FIGURES = [
    *("limit of Divergence", "std off, %", "coverage, %"),
    *("seconds of Reconstruction", "seconds of Divergence"),
]


def measure(problem, seed, ours_only):
    """The excess of every method in per cent, and FIGURES; NaN for what was left out."""
    shape = {"n_features": problem.n_features, "operator": problem.operator}
    data = make_mixture(problem.n_train, N_TEST, random_state=seed, **shape)
    known = {"operator": data.operator, "noise_level": data.noise_level}
    pairs, Y = (data.X_train, data.Y_train), data.Y_test
    fitted, seconds = {}, []
    for cls in (ReconstructionINN, DivergenceRegularizedINN):
        start = perf_counter()
        fitted[cls.__name__] = cls(operator=data.operator, random_state=seed).fit(*pairs)
        seconds.append(perf_counter() - start)
    found = {name: estimator.predict(Y) for name, estimator in fitted.items()}
    found["LMMSE"] = lmmse(*pairs, **known)(Y)
    found["exact MAP"] = map_estimate(data.prior, Y, **known)
    if not ours_only:
        found["MLPRegressor"] = untuned_regression("MLPRegressor", *pairs, seed)(Y)
        found["k nearest neighbours"] = regression("k nearest neighbours", *pairs)(Y)
    mean = posterior_mean(data.prior, Y, **known)
    covariance = posterior_covariance(data.prior, Y, **known)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    excess = {name: excess_of(x, mean, variance) for name, x in found.items()}
    limit = divergence_limit(problem.divergence[seed], excess)
    reconstruction = fitted["ReconstructionINN"]
    std_off = np.abs(reconstruction.posterior_std(Y) / np.sqrt(variance) - 1)
    low, high = reconstruction.posterior_interval(Y)
    covered = (low <= data.X_test) & (data.X_test <= high)
    figures = [limit, 100 * np.median(std_off), 100 * covered.mean(), *seconds]
    return [*(excess.get(name, np.nan) for name in METHODS), *figures]


def excess_of(found, mean, variance):
    """RMSE above that of the posterior mean, in per cent, without the noise of the test signals.

    ``E‖x̂ − x‖² = E‖x̂ − mean‖² + E tr Cov``, the posterior mean being orthogonal to its error.
    """
    squares = ((found - mean) ** 2).sum(axis=1).mean()
    return 100 * (np.sqrt(1 + squares / variance.sum(axis=1).mean()) - 1)


def divergence_limit(before, excess):
    """Excess allowed to DivergenceRegularizedINN: that of before and LMMSE's, whichever is less.

    Where the MAP estimate, which this loss aims at, is near the posterior mean, it is half of that
    of before, or the excess of the MAP estimate itself if that is more.
    """
    at_map = excess["exact MAP"]
    limit = min(before, max(before / 2, at_map)) if at_map <= GOOD_MAP else before
    return min(limit, excess["LMMSE"])


def require(report, name, problem, figures):
    """Compare the means over the seeds with the thresholds."""
    excess, divergence = figures["ReconstructionINN"], figures["DivergenceRegularizedINN"]
    report.require(f"{name}: excess of ReconstructionINN", excess, problem.excess)
    report.require(f"{name}: std off", figures["std off, %"], problem.std)
    report.require(f"{name}: coverage", figures["coverage, %"], COVERAGE[1])
    report.require_at_least(f"{name}: coverage", figures["coverage, %"], COVERAGE[0])
    if not np.isnan(figures["MLPRegressor"]):
        limit = figures["MLPRegressor"] / BETTER_THAN_MLP
        report.require(f"{name}: excess of ReconstructionINN (MLPRegressor)", excess, limit)
    limit = figures["limit of Divergence"]
    report.require(f"{name}: excess of DivergenceRegularizedINN", divergence, limit)


def main():
    options = arguments(
        __doc__.splitlines()[0],
        only={"nargs": "+", "choices": PROBLEMS, "metavar": "NAME", "help": "some of the problems"},
        seeds={"type": int, "default": 3, "choices": (1, 2, 3), "help": "to average over"},
        ours_only={"action": "store_true", "help": "no regressors of scikit-learn"},
    )
    names = options.only or (QUICK if options.quick else PROBLEMS)
    seeds = 1 if options.quick else options.seeds
    report = Report("mixtures", ["problem", *METHODS, *FIGURES])
    for name in names:
        problem = PROBLEMS[name]
        measured = [measure(problem, seed, options.ours_only) for seed in range(seeds)]
        means = np.mean(measured, axis=0).tolist()
        report.add(name, *means)
        require(report, name, problem, dict(zip(report.columns[1:], means, strict=True)))
    report.finish()


if __name__ == "__main__":
    main()
