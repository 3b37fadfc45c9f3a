"""Does a trained network satisfy the equations of the theory?

For the 2-D problem with two modes, of each loss: how far the first-order condition is from holding
at the reconstructions of new measurements, how far the forward map is from G x as trained and with
the prior's term taken out, and the operator that Stein's identity recovers; for the divergence loss
also the learned score of the prior, against the true one and against a kernel density estimate.
Prints tables and exits with status 1 when a figure of the first problems is past its threshold.
"""

import argparse
import sys

import numpy as np

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import make_bimodal
from skinvbayes.diagnostics import (
    recovered_forward,
    recovered_operator,
    score_error,
    stationarity,
    sufficiency_gap,
    tweedie_gap,
)
from skinvbayes.priors import KernelDensityPrior

ESTIMATORS = (
    ApproximationINN,
    ReconstructionINN,
    LogDetRegularizedINN,
    DivergenceRegularizedINN,
)
LIMITS = {LogDetRegularizedINN: 0.03, DivergenceRegularizedINN: 0.02}
# name: operator and δ
PROBLEMS = {
    "A = I, δ = 0.15": (None, 0.15),
    "A = I, δ = 0.4": (None, 0.4),
    "A = diag(1, 1/2), δ = 0.3": (np.diag([1.0, 0.5]), 0.3),
    "A = diag(1, 1/8), δ = 0.3": (np.diag([1.0, 0.125]), 0.3),
    "A 3×2, δ = 0.3": (np.array([[1, 0.4], [0, 0.8], [0.3, -0.5]]), 0.3),
}


def rms(rows):
    return np.sqrt((rows**2).sum(axis=1).mean())


def measure(estimator, test, G):
    """Stationarity; RMSE to G x, raw and recovered; error of the recovered operator."""
    expected = test.X @ G.T
    return [
        np.median(stationarity(estimator, test.Y, test.prior)),
        rms(estimator.transform(test.X) - expected),
        rms(recovered_forward(estimator, test.X, test.prior) - expected),
        np.linalg.norm(recovered_operator(estimator, test.X, test.Y) - G, 2) / np.linalg.norm(G, 2),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds to average over")
    parser.add_argument("--n-train", type=int, default=20_000, help="training pairs")
    options = parser.parse_args()
    passed = True
    print(
        "| problem | loss | stationarity, median | RMSE of φ(x) to G x | recovered | recovered "
        "operator, relative error |\n" + "|---" * 6 + "|"
    )
    scores = []
    for name, (operator, noise_level) in PROBLEMS.items():
        figures, errors = {cls: [] for cls in ESTIMATORS}, []
        G = np.eye(2) if operator is None else operator.T @ operator
        for seed in range(options.seeds):
            known = {"operator": operator, "noise_level": noise_level}
            train = make_bimodal(options.n_train, random_state=seed, **known)
            test = make_bimodal(4000, random_state=1000 + seed, **known)
            for cls in ESTIMATORS:
                estimator = cls(operator=operator, random_state=seed).fit(train.X, train.Y)
                figures[cls].append(measure(estimator, test, G))
            density = KernelDensityPrior(train.X[:4000], bandwidth=0.15)
            own = rms(density.score(test.X) - test.prior.score(test.X))
            errors.append(
                [
                    score_error(estimator, test.X, test.prior),
                    score_error(estimator, test.X, density),
                    own / rms(test.prior.score(test.X)),
                ]
            )
        for cls in ESTIMATORS:
            residual, raw, recovered, matrix = np.mean(figures[cls], axis=0)
            passed &= residual <= LIMITS.get(cls, np.inf)
            print(
                f"| {name} | {cls.__name__} | {100 * residual:.2f} % | {raw:.4f} | "
                f"{recovered:.4f} | {100 * matrix:.1f} % |",
                flush=True,
            )
        scores.append([name, *np.mean(errors, axis=0)])
        if operator is not None:
            gap = sufficiency_gap(test.prior, test.Y, **known).max()
            passed &= gap < 1e-9
        passed &= tweedie_gap(test.prior, test.Y, **known).max() < 1e-9
    print(
        "\n| problem | learned score of the prior, to the true one | to a kernel density's "
        "(4,000 signals, bandwidth 0.15) | of that one to the true one |\n" + "|---" * 4 + "|"
    )
    for name, *errors in scores:
        print(f"| {name} | " + " | ".join(f"{100 * error:.1f} %" for error in errors) + " |")
    passed &= scores[0][1] <= 0.10
    sys.exit(not passed)


if __name__ == "__main__":
    main()
