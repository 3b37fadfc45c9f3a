"""The demo: four networks become four estimators, then a comparison on real digits.

``python -m skinvbayes --help`` says how to use it.
"""

from time import perf_counter

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from .. import DivergenceRegularizedINN
from ..datasets import load_deblurring_digits
from ..numerics.errors import entry_rmse
from ..plotting import ImagesDisplay
from .figures import figure_1
from .options import Run
from .output import prepare_folder

__all__ = ["main"]

_PICTURES = "grids.png", "digits.png"
# columns of figure 1 that the table shows, with their short names and formats
_COLUMNS = {
    "method": ("", "{}"),
    "reconstruction RMSE": ("RMSE", "{:.4f}"),
    "excess over posterior mean, %": ("excess", "{:+.2f} %"),
    "median distance to MAP": ("to MAP", "{:.4f}"),
    "to posterior mean": ("to mean", "{:.4f}"),
    "forward RMSE to G x": ("forward error", "{:.4f}"),
    "seconds": ("seconds", "{:.1f}"),
}


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
        [name, f"{entry_rmse(found, data.X_test):.4f}", f"{seconds:.1f}"]
        for name, (found, seconds) in results.items()
    ]
    return data, results, rows


def draw_digits(data, results, path, n_images=10):
    """Truth, measurement and the reconstructions."""
    rows = {"truth": data.X_test, "measurement": data.Y_test}
    rows |= {name: found for name, (found, _) in results.items()}
    chosen = {label: images[:n_images] for label, images in rows.items()}
    display = ImagesDisplay.from_predictions(chosen, image_shape=data.image_shape)
    display.figure_.savefig(path, dpi=120)


def main(options, printer):
    """Run the demo.

    Parameters
    ----------
    options : argparse.Namespace
        As :func:`skinvbayes.commands.options.parse_arguments` reads them.
    printer : Printer
        Where to print.
    """
    prepare_folder(options.output, _PICTURES)
    run = Run.from_options(options)
    figure, rows = figure_1(run, noise_level=options.noise_level)
    figure.savefig(options.output / _PICTURES[0], dpi=120)
    cells = [
        [style.format(row[name]) if name in row else "" for name, (_, style) in _COLUMNS.items()]
        for row in rows
    ]
    title = f"2-D, two modes, A = I, δ = {options.noise_level}: {options.n_train} training pairs"
    printer.table(title, [header for header, _ in _COLUMNS.values()], cells)
    printer.tell(
        "excess: RMSE above the posterior mean's; to MAP, to mean: median distance to the two\n"
        "oracles; forward error: RMSE of transform(X) against A x, which holds the prior's share."
    )

    data, results, rows = digits(run.seed, run.verbose, options.digits_epochs)
    title = "Deblurring 8×8 digits: 1,400 pairs to train, 397 to test"
    printer.table(title, ["", "RMSE", "seconds"], rows)
    draw_digits(data, results, options.output / _PICTURES[1])
    for name in _PICTURES:
        printer.tell(f"Picture: {options.output / name}")
