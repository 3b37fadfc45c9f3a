"""The demo: four networks become four estimators, then a comparison on real digits.

``python -m skinvbayes --help`` says how to use it.
"""

import argparse
from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from . import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from .datasets import bimodal_prior, load_deblurring_digits, make_bimodal
from .oracles import map_estimate, posterior_mean
from .plotting import DeformedGridDisplay, ImagesDisplay

ESTIMATORS = (
    ApproximationINN,
    ReconstructionINN,
    LogDetRegularizedINN,
    DivergenceRegularizedINN,
)


def rmse(first, second):
    """Root mean square distance of rows."""
    return float(np.sqrt(((first - second) ** 2).sum(axis=1).mean()))


def pixel_rmse(first, second):
    """Root mean square difference of entries."""
    return float(np.sqrt(((first - second) ** 2).mean()))


def bimodal(n_train, n_test, noise_level, seed, verbose):
    """Train the four on the 2-D problem; the rows of the table and the fitted estimators."""
    prior = bimodal_prior()
    train = make_bimodal(n_train, noise_level=noise_level, random_state=seed)
    test = make_bimodal(n_test, noise_level=noise_level, random_state=seed + 1)
    oracles = {
        "posterior mean (oracle)": posterior_mean(prior, test.Y, noise_level=noise_level),
        "MAP (oracle)": map_estimate(prior, test.Y, noise_level=noise_level),
    }
    mean, maximum = oracles.values()

    def row(reconstruction):
        error = rmse(reconstruction, test.X)
        excess = 100 * (error / rmse(mean, test.X) - 1)
        to_map, to_mean = (
            np.median(np.linalg.norm(reconstruction - oracle, axis=1)) for oracle in (maximum, mean)
        )
        return [f"{error:.4f}", f"{excess:+.2f} %", f"{to_map:.4f}", f"{to_mean:.4f}"]

    rows = [[name, *row(oracle), "", ""] for name, oracle in oracles.items()]
    fitted = []
    for cls in ESTIMATORS:
        start = perf_counter()
        estimator = cls(random_state=seed, verbose=verbose).fit(train.X, train.Y)
        seconds = perf_counter() - start
        forward_error = rmse(estimator.transform(test.X), test.X)
        figures = row(estimator.predict(test.Y))
        rows.append([cls.__name__, *figures, f"{forward_error:.4f}", f"{seconds:.1f}"])
        fitted.append(estimator)
    return rows, fitted


def draw_grids(fitted, noise_level, path):
    """The deformed grids of the four estimators beside the two oracles."""
    import matplotlib.pyplot as plt

    prior = bimodal_prior()
    panels = {type(estimator).__name__: estimator.predict for estimator in fitted}
    panels["Posterior mean (oracle)"] = lambda Y: posterior_mean(prior, Y, noise_level=noise_level)
    panels["MAP (oracle)"] = lambda Y: map_estimate(prior, Y, noise_level=noise_level)
    order = [0, 1, 4, 2, 3, 5]
    figure, axes = plt.subplots(2, 3, figsize=(11, 7.6), layout="constrained")
    for ax, index in zip(axes.flat, order, strict=True):
        title, function = list(panels.items())[index]
        DeformedGridDisplay.from_function(function, ax=ax, title=title)
        ax.plot(*prior.means.T, "k+", markersize=10)
    figure.suptitle(
        "Where reconstruction sends an equidistant grid of measurements (A = I, "
        f"δ = {noise_level}); + marks the two peaks of the prior"
    )
    figure.savefig(path, dpi=120)


def digits(seed, verbose, max_iter):
    """The divergence estimator against three tuned regressors; errors, seconds, reconstructions."""
    data = load_deblurring_digits(random_state=seed)
    grids = {
        "Ridge": (Ridge(), {"alpha": np.logspace(-1, 3, 9)}),
        "k nearest neighbours": (
            KNeighborsRegressor(weights="distance"),
            {"n_neighbors": [5, 10, 20, 40]},
        ),
        "MLPRegressor": (
            MLPRegressor(
                hidden_layer_sizes=(256,), early_stopping=True, max_iter=500, random_state=seed
            ),
            {"alpha": [1e-4, 1e-2, 1.0]},
        ),
    }
    results = {}
    for name, (estimator, grid) in grids.items():
        start = perf_counter()
        scoring = "neg_root_mean_squared_error"
        search = GridSearchCV(estimator, grid, cv=3, scoring=scoring)
        with threadpool_limits(1):  # matrices of 64 columns gain nothing from threads
            search.fit(data.Y_train, data.X_train)
        results[name] = search.predict(data.Y_test), perf_counter() - start
    start = perf_counter()
    estimator = DivergenceRegularizedINN(
        operator=data.operator, max_iter=max_iter, random_state=seed, verbose=verbose
    ).fit(data.X_train, data.Y_train)
    reconstruction = estimator.predict(data.Y_test)
    results["DivergenceRegularizedINN"] = reconstruction, perf_counter() - start
    rows = [
        [name, f"{pixel_rmse(found, data.X_test):.4f}", f"{seconds:.1f}"]
        for name, (found, seconds) in results.items()
    ]
    return data, results, rows


def draw_digits(data, results, path, n_images=10):
    """Truth, measurement and the reconstructions."""
    rows = {"truth": data.X_test, "measurement": data.Y_test}
    rows |= {name: found for name, (found, _) in results.items()}
    chosen = {label: images[:n_images] for label, images in rows.items()}
    display = ImagesDisplay(chosen, data.image_shape).plot()
    display.figure_.savefig(path, dpi=120)


def print_table(console, title, header, rows):
    """Print a table with figures aligned to the right."""
    table = Table(title=title)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m skinvbayes",
        description="Train the four estimators on a 2-D problem beside the exact posterior mean "
        "and MAP, then deblur handwritten digits. Prints two tables, writes two pictures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of data and networks")
    parser.add_argument("--n-train", type=int, default=4000, help="training pairs in 2-D")
    parser.add_argument("--n-test", type=int, default=4000, help="test pairs in 2-D")
    parser.add_argument("--noise-level", type=float, default=0.4, help="δ of the 2-D problem")
    parser.add_argument("--digits-epochs", type=int, default=200, help="epochs on the digits")
    parser.add_argument("--output", type=Path, default=Path("skinvbayes-demo"), help="folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the demo."""
    options = parse_arguments(arguments)
    matplotlib.use("Agg")
    console = Console(width=110)
    options.output.mkdir(parents=True, exist_ok=True)
    verbose = not options.quiet

    rows, fitted = bimodal(
        options.n_train, options.n_test, options.noise_level, options.seed, verbose
    )
    header = ["", "RMSE", "excess", "to MAP", "to mean", "forward error", "seconds"]
    title = f"2-D, two modes, A = I, δ = {options.noise_level}: {options.n_train} training pairs"
    print_table(console, title, header, rows)
    console.print(
        "excess: RMSE above the posterior mean's; to MAP, to mean: median distance to the two\n"
        "oracles; forward error: RMSE of transform(X) against A x, which holds the prior's share."
    )
    draw_grids(fitted, options.noise_level, options.output / "grids.png")

    data, results, rows = digits(options.seed, verbose, options.digits_epochs)
    title = "Deblurring 8×8 digits: 1,400 pairs to train, 397 to test"
    print_table(console, title, ["", "RMSE", "seconds"], rows)
    draw_digits(data, results, options.output / "digits.png")
    for name in ("grids.png", "digits.png"):
        console.print(f"Picture: {options.output / name}", soft_wrap=True)


if __name__ == "__main__":
    main()
