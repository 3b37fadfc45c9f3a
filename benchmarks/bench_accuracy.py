"""How far are the four estimators, with default parameters, from the Bayesian oracles?

Prints a table and exits with status 1 when a figure of the 2-D problems is past its threshold in
the mean over the seeds. Excess is the RMSE of the reconstruction above the posterior mean's, in
per cent; for the divergence loss above the MAP's own, in percentage points.
"""

import argparse
import sys
from time import perf_counter

import numpy as np

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import bimodal_prior
from skinvbayes.numerics.errors import row_rmse
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.priors import GaussianMixturePrior


def three_components():
    covariances = [[[0.2, 0.1], [0.1, 0.3]], [[0.3, -0.1], [-0.1, 0.1]], 0.2 * np.eye(2)]
    return GaussianMixturePrior(
        [[1.2, 0.3], [-1.0, 0.8], [0.1, -1.1]], covariances, [0.5, 0.3, 0.2]
    )


# name: prior, operator, δ, pairs, thresholds: reconstruction, divergence, distance to MAP,
# log-determinant, approximation
PROBLEMS = {
    "A = I, δ = 0.15": (bimodal_prior, None, 0.15, 4000, (0.3, 0.3, 0.010, 0.5, 0.02)),
    "A = I, δ = 0.4": (bimodal_prior, None, 0.4, 4000, (0.5, 0.3, 0.012, 2.5, 0.03)),
    "A = diag(1, 1/2), δ = 0.3": (
        *(bimodal_prior, np.diag([1, 0.5]), 0.3, 4000),
        (1.0, 0.3, 0.015, 1.0, 0.02),
    ),
    "A = diag(1, 1/8), δ = 0.3": (
        *(bimodal_prior, np.diag([1, 0.125]), 0.3, 4000),
        (1.0, 0.3, 0.022, 1.0, 0.02),
    ),
    "three components, A = I, δ = 0.3": (three_components, None, 0.3, 4000, None),
    "three components, A 3×2, δ = 0.3": (
        *(three_components, np.array([[1, 0.4], [0, 0.8], [0.3, -0.5]]), 0.3, 4000),
        None,
    ),
    "A = I, δ = 0.15, 500 pairs": (bimodal_prior, None, 0.15, 500, None),
    "A = I, δ = 0.4, 500 pairs": (bimodal_prior, None, 0.4, 500, None),
}


def measure(prior, operator, noise_level, n_train, seed):
    """Reconstruction, divergence, distance to MAP, log-determinant, approximation; δ̂/δ; seconds."""
    rng = np.random.RandomState(1000 + seed)
    A = np.eye(2) if operator is None else operator

    def simulate(n):
        X = prior.sample(n, rng)
        return X, X @ A.T + noise_level * rng.standard_normal((n, len(A)))

    train, (X, Y) = simulate(n_train), simulate(4000)
    known = {"operator": operator, "noise_level": noise_level}
    mean, maximum = posterior_mean(prior, Y, **known), map_estimate(prior, Y, **known)
    fitted, seconds = {}, []
    for cls in (
        ReconstructionINN,
        DivergenceRegularizedINN,
        LogDetRegularizedINN,
        ApproximationINN,
    ):
        start = perf_counter()
        fitted[cls] = cls(operator=operator, random_state=seed).fit(*train)
        seconds.append(perf_counter() - start)
    found = {cls: estimator.predict(Y) for cls, estimator in fitted.items()}
    above = {cls: 100 * row_rmse(x, X) / row_rmse(mean, X) - 100 for cls, x in found.items()}
    forward = X if operator is None else X @ A.T @ A
    divergence = found[DivergenceRegularizedINN]
    return [
        above[ReconstructionINN],
        above[DivergenceRegularizedINN] - (100 * row_rmse(maximum, X) / row_rmse(mean, X) - 100),
        np.median(np.linalg.norm(divergence - maximum, axis=1)),
        above[LogDetRegularizedINN],
        row_rmse(fitted[ApproximationINN].transform(X), forward),
        fitted[DivergenceRegularizedINN].noise_level_ / noise_level,
        *seconds,
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds to average over")
    seeds = parser.parse_args().seeds
    print(
        "| problem | Reconstruction: excess | Divergence: excess above MAP's | Divergence: median "
        "distance to MAP | LogDet: excess | Approximation: RMSE to G x | δ̂/δ | seconds R/D/L/A |"
    )
    print("|" + "---|" * 8)
    passed = True
    for name, (make_prior, operator, noise_level, n_train, limits) in PROBLEMS.items():
        figures = [measure(make_prior(), operator, noise_level, n_train, s) for s in range(seeds)]
        r, d, to_map, logdet, forward, noise, *seconds = np.mean(figures, axis=0)
        passed &= limits is None or bool(
            (np.array([r, d, to_map, logdet, forward]) <= limits).all()
        )
        times = "/".join(f"{s:.1f}" for s in seconds)
        print(
            f"| {name} | {r:.2f} % | {d:.2f} pp | {to_map:.4f} | {logdet:.2f} % | {forward:.4f} "
            f"| {noise:.3f} | {times} |",
            flush=True,
        )
    sys.exit(not passed)


if __name__ == "__main__":
    main()
