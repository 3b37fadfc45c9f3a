"""How the benchmarks of quality compare methods: errors of the test images, seconds, pictures."""

from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np
from baselines import (
    TIKHONOV,
    discrepancy_principle,
    in_hindsight,
    regression,
    regressors,
    tikhonov,
    total_variation,
)
from skimage.metrics import structural_similarity

COLUMNS = [
    *("problem", "method", "tuned on", "RMSE", "PSNR, dB", "SSIM"),
    *("seconds to train", "seconds to reconstruct"),
]
VALIDATION, HINDSIGHT, NOTHING = "validation", "test, in hindsight", "nothing"


@dataclass
class Comparison:
    """Methods on one problem, each a row of a report.

    Parameters
    ----------
    report : Report
        The report, with COLUMNS.
    name : str
        Name of the problem.
    X, Y : ndarrays of shape (n_samples, n_features or n_measurements)
        Signals and measurements of the test.
    image_shape : tuple of int
        Shape of a signal.
    data_range : float, default=1.0
        Largest difference of values, for PSNR and SSIM.
    """

    report: object
    name: str
    X: np.ndarray
    Y: np.ndarray
    image_shape: tuple
    data_range: float = 1.0
    found: dict = field(default_factory=dict)
    rmse: dict = field(default_factory=dict)
    psnr: dict = field(default_factory=dict)

    def add(self, method, tuned, train, *args, **kwargs):
        """Time ``train(*args, **kwargs)``, which returns a map of measurements to signals, and it.

        Where the map is tuned in hindsight, that is what the seconds to train are spent on.
        """
        start = perf_counter()
        reconstruct = train(*args, **kwargs)
        trained = perf_counter()
        self.found[method] = found = reconstruct(self.Y)
        seconds = trained - start, perf_counter() - trained
        squares = ((found - self.X) ** 2).mean(axis=1)
        psnr = 10 * np.log10(self.data_range**2 / squares)
        self.rmse[method], self.psnr[method] = np.sqrt(squares.mean()), psnr.mean()
        self.report.add(
            *(self.name, method, tuned),
            f"{self.rmse[method]:.4f} ± {_standard_error(squares) / 2 / self.rmse[method]:.4f}",
            f"{psnr.mean():.2f} ± {_standard_error(psnr):.2f}",
            self._similarity(found),
            *seconds,
        )

    def add_regressors(self, X, Y, fit=regression):
        """The regressors of scikit-learn, each tuned on a part of the training pairs."""
        for name in regressors():
            self.add(name, VALIDATION, fit, name, X, Y)

    def add_in_hindsight(self, method, function, grid, **constants):
        """A function of measurements and parameters, with those that suit the truth best."""
        self.add(
            method, HINDSIGHT, in_hindsight, partial(function, **constants), grid, self.Y, self.X
        )

    def add_classical(self, operator, noise_level, mean, tv_weights):
        """Tikhonov's regularisation around the mean signal, and total variation."""
        centred = {"operator": operator, "mean": mean}
        principle = partial(discrepancy_principle, noise_level=noise_level, **centred)
        self.add("Tikhonov, discrepancy principle", NOTHING, lambda: principle)
        self.add_in_hindsight("Tikhonov", tikhonov, {"alpha": TIKHONOV}, **centred)
        grid, shape = {"weight": tv_weights}, self.image_shape
        variation = {"operator": operator, "image_shape": shape}
        self.add_in_hindsight("total variation", total_variation, grid, **variation)

    def add_ours(self, settings, X, Y, **given):
        """Our estimators with their settings, each fitted to the training pairs."""
        for cls, chosen in settings.items():
            estimator = cls(random_state=0, **given | chosen)
            self.add(cls.__name__, NOTHING, lambda fitted: fitted.fit(X, Y).predict, estimator)

    def best(self, methods, scores="rmse"):
        """The best of some methods: the lowest RMSE, or the highest PSNR."""
        return (max if scores == "psnr" else min)(getattr(self, scores)[name] for name in methods)

    def _similarity(self, found):
        if len(self.image_shape) == 1:
            return "–"
        values = [
            structural_similarity(x, y, data_range=self.data_range)
            for x, y in zip(*map(self._images, (self.X, found)), strict=True)
        ]
        return f"{np.mean(values):.3f} ± {_standard_error(values):.3f}"

    def _images(self, rows):
        return rows.reshape(-1, *self.image_shape)


def _standard_error(values):
    return np.std(values) / np.sqrt(max(len(values) - 1, 1))


def draw_images(plt, comparison, first, n_images=3, zoom=None):
    """Truth, what was measured and every reconstruction, each with its PSNR.

    Parameters
    ----------
    plt : module
        Of matplotlib.
    comparison : Comparison
        What to draw.
    first : tuple of str and ndarray
        Name and rows of what stands beside the truth: measurements, where these are images.
    n_images : int, default=3
        Number of images, one a row.
    zoom : int, default=None
        Side of the part around the centre that is shown; all by default.
    """
    columns = {"truth": comparison.X, **dict([first]), **comparison.found}
    n_images = min(n_images, len(comparison.X))
    size = 2 * len(columns), 2.25 * n_images
    figure, axes = plt.subplots(
        n_images, len(columns), squeeze=False, figsize=size, layout="constrained"
    )
    low, high = comparison.X[:n_images].min(), comparison.X[:n_images].max()
    for i, row in enumerate(axes):
        for ax, (name, images) in zip(row, columns.items(), strict=True):
            image = images[i].reshape(comparison.image_shape)
            ax.imshow(_centre(image, zoom), cmap="gray", vmin=low, vmax=high)
            ax.set_axis_off()
            ax.set_title(_title(name, comparison, i, images[i], short=i > 0), fontsize=9)
    return figure


def draw_signals(plt, comparisons):
    """The first signal of each comparison, a row: the measurement and every reconstruction."""
    width = max(len(comparison.found) for comparison in comparisons)
    figure, axes = plt.subplots(
        *(len(comparisons), 1 + width),
        squeeze=False,
        sharey="row",
        figsize=(2 + 2 * width, 2.25 * len(comparisons)),
        layout="constrained",
    )
    for row, comparison in zip(axes, comparisons, strict=True):
        row[0].set_ylabel(comparison.name.replace(", δ", "\nδ"), fontsize=8)
        for ax in row[1 + len(comparison.found) :]:
            ax.set_axis_off()
        columns = {"measurement": comparison.Y, **comparison.found}
        for ax, (name, signals) in zip(row, columns.items(), strict=False):
            ax.plot(comparison.X[0], color="black", linewidth=1)
            ax.plot(signals[0], color="tab:red", linewidth=1)
            ax.set_ylim(comparison.X[0].min() - 0.4, comparison.X[0].max() + 0.4)
            ax.tick_params(labelsize=6)
            ax.set_title(_title(name, comparison, 0, signals[0], short=False), fontsize=9)
            ax.set_xlabel("cell", fontsize=8)
    return figure


def _title(name, comparison, i, image, short):
    name = name.replace("Regularized", "\nRegularized").replace(", ", ",\n").replace(" on", "\non")
    lines = [] if short else [name]
    if image.shape == comparison.X[i].shape and name != "truth":
        lines.append(f"{_psnr(comparison, i, image):.2f} dB")
    return "\n".join(lines)


def _psnr(comparison, i, image):
    return 10 * np.log10(comparison.data_range**2 / ((image - comparison.X[i]) ** 2).mean())


def _centre(image, size):
    if size is None or size >= min(image.shape):
        return image
    row, column = ((side - size) // 2 for side in image.shape)
    return image[row : row + size, column : column + size]
