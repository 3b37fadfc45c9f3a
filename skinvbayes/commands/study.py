"""One two-dimensional problem: its data, its oracles, and the errors of trained estimators."""

from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from .. import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from ..datasets import make_bimodal
from ..diagnostics import recovered_forward, recovered_operator, stationarity
from ..numerics.errors import row_rmse
from ..oracles import map_estimate, posterior_mean
from .options import Run

__all__ = ["ESTIMATORS", "REGULARIZED", "Study"]

ESTIMATORS = (
    ApproximationINN,
    ReconstructionINN,
    LogDetRegularizedINN,
    DivergenceRegularizedINN,
)
REGULARIZED = (LogDetRegularizedINN, DivergenceRegularizedINN)


@dataclass
class Study:
    """One problem: data, oracles, and the estimators that were trained on it."""

    run: Run
    operator: np.ndarray | None
    noise_level: float

    def __post_init__(self):
        make = partial(make_bimodal, operator=self.operator, noise_level=self.noise_level)
        self.train = make(self.run.n_train, random_state=self.run.seed)
        self.test = make(self.run.n_test, random_state=self.run.seed + 1)
        self.prior = self.test.prior
        self.A = np.eye(2) if self.operator is None else self.operator
        self.G = self.A.T @ self.A
        self.Z = self.test.Y @ self.A
        self.mean, self.maximum = (
            self.oracle(estimate, self.test.Y) for estimate in (posterior_mean, map_estimate)
        )
        # lower limits of both errors: the posterior mean's error, and the noise of z
        self.limits = row_rmse(self.mean, self.test.X), row_rmse(self.Z, self.test.X @ self.G)

    @property
    def name(self):
        """Operator and noise level, for titles and tables."""
        operator = "I" if self.operator is None else f"diag(1, {self.A[1, 1]:.3g})"
        return f"A = {operator}, δ = {self.noise_level:.3g}"

    def oracle(self, estimate, Y):
        """A Bayesian estimate of the measurements."""
        return estimate(self.prior, Y, operator=self.operator, noise_level=self.noise_level)

    def fit(self, cls, **parameters):
        """Train an estimator; return it and the seconds that its training took."""
        start = perf_counter()
        common = {"operator": self.operator, "random_state": self.run.seed}
        estimator = cls(verbose=self.run.verbose, **common, **parameters)
        estimator.fit(self.train.X, self.train.Y)
        return estimator, perf_counter() - start

    def errors(self, reconstruction):
        """How far reconstructions of the test measurements are from signals and oracles."""
        error = row_rmse(reconstruction, self.test.X)
        to_map, to_mean = (
            float(np.median(np.linalg.norm(reconstruction - oracle, axis=1)))
            for oracle in (self.maximum, self.mean)
        )
        return {
            "reconstruction RMSE": error,
            "excess over posterior mean, %": 100 * (error / self.limits[0] - 1),
            "median distance to MAP": to_map,
            "to posterior mean": to_mean,
        }

    def weight(self, estimator):
        """The weight of the regularisation relative to δ², as a column of the table."""
        if not isinstance(estimator, REGULARIZED):
            return {}
        automatic = estimator.epsilon == "auto"
        return {"weight / δ²": 1.0 if automatic else estimator.epsilon / self.noise_level**2}

    def oracle_rows(self):
        """The errors of both oracles, one row of the table for each."""
        oracles = {"posterior mean (oracle)": self.mean, "MAP (oracle)": self.maximum}
        return [
            {"problem": self.name, "method": name} | self.errors(found)
            for name, found in oracles.items()
        ]

    def row(self, estimator, seconds):
        """The errors of a trained estimator, as a row of the table."""
        X, Y = self.test.X, self.test.Y
        forward = estimator.transform(X)
        recovered = recovered_forward(estimator, X, self.prior)
        expected = X @ self.G
        matrix = recovered_operator(estimator, X, Y)
        return {
            "problem": self.name,
            "method": type(estimator).__name__,
            **self.weight(estimator),
            **self.errors(estimator.predict(Y)),
            "forward RMSE to z": row_rmse(forward, self.Z),
            "recovered": row_rmse(recovered, self.Z),
            "forward RMSE to G x": row_rmse(forward, expected),
            "recovered, to G x": row_rmse(recovered, expected),
            "recovered G, max. error": float(np.abs(matrix - self.G).max()),
            "stationarity, %": 100 * float(np.median(stationarity(estimator, Y, self.prior))),
            "seconds": seconds,
        }
