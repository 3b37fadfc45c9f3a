"""How fast does the error fall with the number of training pairs, and with training time?

The 2-D problem with two modes, A = I, δ = 0.3, all four losses, both residual branches. Excess is
the RMSE of the reconstruction above the posterior mean's, in per cent, on the same 20,000 test
pairs; the MAP estimate and the measurements themselves have an excess too, at which the divergence
and the approximation loss should end. Prints two tables and writes ``convergence.png`` and
``convergence.json``.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from rich.progress import track

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import make_bimodal
from skinvbayes.numerics.errors import row_rmse
from skinvbayes.oracles import map_estimate, posterior_mean

ESTIMATORS = (
    ReconstructionINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ApproximationINN,
)
COLOURS = ("tab:blue", "tab:green", "tab:orange", "tab:grey")
BRANCHES = {"gradient": "-", "mlp": "--"}
N_TRAIN = (100, 300, 1000, 3000, 10_000, 20_000)
MAX_ITER = (5, 10, 20, 40, 80, 160, 320)
NOISE_LEVEL = 0.3
FLOOR = 0.02  # per cent; smaller excesses are drawn here


def measure(cls, residual, n_train, seed, test, best, **parameters):
    """Excess in per cent, and seconds of training."""
    train = make_bimodal(n_train, noise_level=NOISE_LEVEL, random_state=seed)
    estimator = cls(residual=residual, random_state=seed, **parameters)
    start = perf_counter()
    estimator.fit(train.X, train.Y)
    seconds = perf_counter() - start
    return 100 * (row_rmse(estimator.predict(test.Y), test.X) / best - 1), seconds


def study(cases, seeds, test, best, n_jobs):
    """Mean excess and seconds over the seeds for each (class, branch, pairs, parameters)."""
    jobs = [
        delayed(measure)(cls, residual, n_train, seed, test, best, **parameters)
        for cls, residual, n_train, parameters in cases
        for seed in range(seeds)
    ]
    found = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    figures = list(track(found, "training", total=len(jobs)))
    return np.reshape(figures, (len(cases), seeds, 2)).mean(axis=1)


def draw(ax, curves, limits, xlabel):
    """One line for each loss and branch."""
    for (name, residual), (x, excess) in curves.items():
        colour = COLOURS[[cls.__name__ for cls in ESTIMATORS].index(name)]
        style = {"color": colour, "linestyle": BRANCHES[residual], "marker": "."}
        ax.loglog(x, np.maximum(excess, FLOOR), label=f"{name}, {residual}", **style)
    for label, value in limits.items():
        ax.axhline(value, color="k", linewidth=0.8, linestyle=":")
        ax.text(
            1.0, value, f"{label} ", ha="right", va="bottom", transform=ax.get_yaxis_transform()
        )
    ax.set(xlabel=xlabel, ylabel="RMSE above the posterior mean's, %")


def table(header, curves, column):
    """Print the excess of every curve."""
    print(f"| loss | branch | {' | '.join(header)} |\n" + "|---" * (2 + len(header)) + "|")
    for (name, residual), values in curves.items():
        cells = " | ".join(column(*pair) for pair in np.transpose(values))
        print(f"| {name} | {residual} | {cells} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds to average over")
    parser.add_argument("--n-jobs", type=int, default=2, help="processes of the first study")
    parser.add_argument("--output", type=Path, default=Path("skinvbayes-figures"), help="folder")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    test = make_bimodal(20_000, noise_level=NOISE_LEVEL, random_state=1000)
    known = {"noise_level": NOISE_LEVEL}
    best = row_rmse(posterior_mean(test.prior, test.Y, **known), test.X)
    limits = {
        "MAP": 100 * (row_rmse(map_estimate(test.prior, test.Y, **known), test.X) / best - 1),
        "measurement": 100 * (row_rmse(test.Y, test.X) / best - 1),
    }
    lines = list(product(ESTIMATORS, BRANCHES))
    by_pairs = study(
        [(*line, n, {}) for line in lines for n in N_TRAIN],
        *(options.seeds, test, best, options.n_jobs),
    ).reshape(len(lines), len(N_TRAIN), 2)
    by_time = study(  # one process: times are compared
        [(*line, 4000, {"max_iter": n, "tol": 0}) for line in lines for n in MAX_ITER],
        *(options.seeds, test, best, 1),
    ).reshape(len(lines), len(MAX_ITER), 2)

    names = [(cls.__name__, residual) for cls, residual in lines]
    pairs = {name: (N_TRAIN, rows[:, 0]) for name, rows in zip(names, by_pairs, strict=True)}
    times = {name: (rows[:, 1], rows[:, 0]) for name, rows in zip(names, by_time, strict=True)}
    figure, axes = plt.subplots(1, 2, figsize=(13, 5.4), layout="constrained", sharey=True)
    draw(axes[0], pairs, limits, "training pairs (200 iterations at most)")
    draw(axes[1], times, limits, "seconds of training (4,000 pairs)")
    axes[1].legend(fontsize="small")
    figure.suptitle("2-D problem with two modes, A = I, δ = 0.3; mean of the seeds")
    figure.savefig(options.output / "convergence.png", dpi=120)

    print(", ".join(f"excess of the {name}: {value:.2f} %" for name, value in limits.items()), "\n")
    table([f"{n:,} pairs" for n in N_TRAIN], pairs, lambda n, excess: f"{excess:.2f} %")
    print()
    header = [f"{n} iterations" for n in MAX_ITER]
    table(header, times, lambda seconds, excess: f"{excess:.2f} % in {seconds:.1f} s")
    record = {"seeds": options.seeds, "limits": limits}
    for key, curves in (("pairs", pairs), ("seconds", times)):
        record[key] = [
            {"loss": name, "branch": branch, key: list(map(float, x)), "excess": list(y)}
            for (name, branch), (x, y) in curves.items()
        ]
    (options.output / "convergence.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
