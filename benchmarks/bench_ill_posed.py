"""On classical ill-posed problems, are the defaults ever worse than a linear filter?

Six integral equations, two priors, 1 % and 5 % noise; our estimators get the operator and a seed,
and nothing else. Prints the error of every method over that of LMMSE, the linear minimum mean
square error estimator, and the coverage of intervals of 90 %. Exits with status 1 when a figure of
ours is past its threshold. Tikhonov's method and total variation have the weight that suits the
test signals best. With ``--filters``, filters on piecewise constant signals as well: minutes for
each problem. ``--pairs 100 --features 20`` is a problem of few pairs.
"""

from functools import partial
from math import inf
from time import perf_counter

import numpy as np
from baselines import (
    in_hindsight,
    lmmse,
    regression,
    tikhonov,
    total_variation_on_a_line,
    untuned_regression,
)
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_ill_posed
from skinvbayes.numerics.errors import entry_rmse
from skinvbayes.oracles import posterior_mean

KINDS = ("gravity", "shaw", "phillips", "heat", "deriv2", "abel")
PRIORS = ("smooth", "piecewise_constant")
NOISE = (0.01, 0.05)
QUICK = {"kinds": ("abel",), "priors": ("smooth",), "noise": (0.01,)}
N_TEST = 1000

# error over that of LMMSE: with any prior, and with the smooth prior
RATIOS = {
    ReconstructionINN: {"smooth": 1.01, "piecewise_constant": 1.01},
    DivergenceRegularizedINN: {"smooth": 1.08},
    LogDetRegularizedINN: {"smooth": 1.1},
}
NONLINEAR = ("abel", "smooth")  # where the posterior mean is far better than LMMSE
FILTERS_OVER_VARIATION = 1.0  # error of filters over that of total variation, with 1 % noise
COVERAGES = {ReconstructionINN: (87, 93), DivergenceRegularizedINN: (85, 95)}  # of 90 %, in %

ALPHAS = np.logspace(-8, 0, 25)  # of Tikhonov, for an operator of norm one
TV_WEIGHTS = np.logspace(-6, -1, 11)


class Comparison:
    """Methods on one problem, each a row of a report."""

    def __init__(self, report, name, data):
        self.report, self.name, self.data = report, name, data
        self.known = {"operator": data.operator, "noise_level": data.noise_level}
        self.pairs = data.X_train, data.Y_train
        self.linear_error = entry_rmse(lmmse(*self.pairs, **self.known)(data.Y_test), data.X_test)

    def add(self, method, train, *args, interval=None, **kwargs):
        """Time ``train(*args, **kwargs)``, which returns a map of measurements to signals.

        Returns the error over that of LMMSE, and the coverage of ``interval(Y)`` in per cent.
        """
        start = perf_counter()
        reconstruct = train(*args, **kwargs)
        seconds = perf_counter() - start
        error = entry_rmse(reconstruct(self.data.Y_test), self.data.X_test)
        coverage = "–"
        if interval is not None:
            low, high = interval(self.data.Y_test)
            coverage = float(100 * ((low <= self.data.X_test) & (self.data.X_test <= high)).mean())
        ratio = error / self.linear_error
        self.report.add(self.name, method, f"{error:.4f}", f"{ratio:.3f}", coverage, seconds)
        return ratio, coverage

    def add_oracles(self):
        if self.data.prior is not None:
            exact = partial(posterior_mean, self.data.prior, **self.known)
            self.add("exact posterior mean", lambda: exact)
        self.add("LMMSE", lmmse, *self.pairs, **self.known)

    def add_regressors(self, seed, boosting):
        self.add("k nearest neighbours", regression, "k nearest neighbours", *self.pairs)
        for name in ("Ridge", "MLPRegressor", *(["HistGradientBoosting"] if boosting else [])):
            self.add(name, untuned_regression, name, *self.pairs, seed)

    def add_in_hindsight(self):
        """Tikhonov's method and total variation, for the operator divided by its norm.

        Returns the error of total variation over that of LMMSE.
        """
        data = self.data
        norm = np.linalg.norm(data.operator, 2)
        operator = data.operator / norm
        smooth = partial(tikhonov, operator=operator, mean=data.X_train.mean(axis=0))
        variation = partial(total_variation_on_a_line, operator=operator)
        for name, method, grid in (
            ("Tikhonov, in hindsight", smooth, {"alpha": ALPHAS}),
            ("total variation, in hindsight", variation, {"weight": TV_WEIGHTS}),
        ):
            tune = partial(in_hindsight, method, grid, data.Y_test / norm, data.X_test)
            ratio, _ = self.add(name, lambda tune=tune: partial(_scaled, tune(), norm))
        return ratio

    def add_filters(self, seed):
        """The reconstruction loss with filters."""
        shape = self.data.image_shape
        estimator = ReconstructionINN(residual="conv", image_shape=shape, random_state=seed)
        estimator.set_params(operator=self.data.operator)
        return self.add(
            "ReconstructionINN, filters",
            lambda: estimator.fit(*self.pairs).predict,
            interval=estimator.posterior_interval,
        )

    def add_ours(self, seed):
        for cls in RATIOS:
            estimator = cls(operator=self.data.operator, random_state=seed)
            try:
                figures = self.add(
                    *(cls.__name__, lambda fitted=estimator: fitted.fit(*self.pairs).predict),
                    interval=estimator.posterior_interval,
                )
            except (ValueError, RuntimeError) as error:  # a training that broke down
                self.report.add(self.name, cls.__name__, "–", "–", f"{error}"[:40] + "…", "–")
                figures = np.nan, np.nan  # past all thresholds
            yield cls, *figures


def _scaled(method, norm, Y):
    return method(Y / norm)


def require(report, name, cls, limit, ratio, coverage):
    """Compare figures of an estimator with the thresholds of the error and the coverage."""
    label = f"{cls.__name__}, {name}"
    report.require(f"{label}: error over that of LMMSE", ratio, limit)
    if cls in COVERAGES:
        low, high = COVERAGES[cls]
        report.require_at_least(f"{label}: coverage", coverage, low)
        report.require(f"{label}: coverage", coverage, high)


def limits(kind, prior):
    """The largest error of each estimator over that of LMMSE."""
    found = {cls: ratios.get(prior, inf) for cls, ratios in RATIOS.items()}
    return found | ({ReconstructionINN: 1.0} if (kind, prior) == NONLINEAR else {})


def main():
    choice = {"nargs": "+", "metavar": "NAME"}
    options = arguments(
        __doc__.splitlines()[0],
        kinds={**choice, "choices": KINDS, "help": f"some of {', '.join(KINDS)}"},
        priors={**choice, "choices": PRIORS, "help": f"some of {', '.join(PRIORS)}"},
        noise={"nargs": "+", "type": float, "help": "relative noise, 0.01 and 0.05 by default"},
        seed={"type": int, "default": 0, "help": "of the pairs and the estimators"},
        pairs={"type": int, "default": 2000, "help": "to train with"},
        features={"type": int, "default": 64, "help": "of the signals"},
        boosting={"action": "store_true", "help": "boosted trees too, a minute for each problem"},
        filters={"action": "store_true", "help": "filters on piecewise constant signals too"},
        ours_only={"action": "store_true", "help": "no baselines but LMMSE"},
    )
    everything = {"kinds": KINDS, "priors": PRIORS, "noise": NOISE}
    defaults = QUICK if options.quick else everything
    kinds, priors, noise = (getattr(options, name) or defaults[name] for name in everything)
    columns = ["problem", "method", "RMSE", "over LMMSE", "coverage of 90 %", "seconds to fit"]
    report = Report("ill_posed", columns)
    for prior in priors:
        for kind in kinds:
            for relative in noise:
                name = f"{kind}, {prior.replace('_', ' ')}, {relative:.0%}"
                settings = {"relative_noise": relative, "random_state": options.seed}
                settings |= {"prior": prior, "n_features": options.features}
                data = make_ill_posed(kind, options.pairs, N_TEST, **settings)
                comparison = Comparison(report, name, data)
                comparison.add_oracles()
                variation = inf
                if not options.ours_only:
                    comparison.add_regressors(options.seed, options.boosting)
                    variation = FILTERS_OVER_VARIATION * comparison.add_in_hindsight()
                if options.filters and prior == "piecewise_constant":
                    limit = min(variation, 1.0) if relative == NOISE[0] else 1.0
                    figures = comparison.add_filters(options.seed)
                    require(report, f"{name}, filters", ReconstructionINN, limit, *figures)
                for cls, *figures in comparison.add_ours(options.seed):
                    require(report, name, cls, limits(kind, prior)[cls], *figures)
    report.finish()


if __name__ == "__main__":
    main()
