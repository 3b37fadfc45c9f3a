"""Signals on a grid, as lines with error bands."""

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length

from ..numerics.checks import check_fitted, check_flag
from ..numerics.modes import OwnModes
from ..numerics.sklearn_compat import safe_indexing
from ..numerics.types import Auto
from .axes import axes_or_new, finish

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SignalDisplay"]


class SignalDisplay(OwnModes):
    """Reconstructed signals as lines, with error bands and the true signals where these are known.

    One signal is drawn on one axes; several are drawn below each other, each on axes of its own.

    Parameters
    ----------
    signals : array-like of shape (n_features,) or (n_signals, n_features)
        The reconstructions.
    lower, upper : array-likes of the shape of ``signals``, default=None
        Ends of the error bands; no bands by default.
    truth : array-like of the shape of ``signals``, default=None
        The true signals.
    grid : array-like of shape (n_features,), default=None
        Where the features are, such as times or wavelengths; 0, 1, 2, … by default.
    coverage : float, default=None
        The probability of the intervals, for the legend.
    name : str, default=None
        What the lines are called in the legend.
    measurement : array-like of shape (n_measurements,) or (n_signals, n_measurements), default=None
        What was measured; NaN where a measurement is missing.
    measurement_grid : array-like of shape (n_measurements,), default=None
        Where the measurements are; by default as the features, if they are as many.

    Attributes
    ----------
    ax_ : matplotlib Axes, or ndarray of shape (n_signals,) of them
        What was drawn on, one for each of several signals. The next four are arrays, too, then.
    line_ : matplotlib Line2D
        The reconstruction.
    band_ : matplotlib PolyCollection or None
        The error band.
    truth_ : matplotlib Line2D or None
        The true signal.
    measurement_ : matplotlib Line2D or None
        The measurement; its ``axes`` are others if it has an axis of its own.
    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_ill_posed
    >>> from skinvbayes.plotting import SignalDisplay
    >>> data = make_ill_posed("gravity", 100, 5, n_features=16, random_state=0)
    >>> estimator = DivergenceRegularizedINN(operator=data.operator, max_iter=5, random_state=0)
    >>> estimator = estimator.fit(data.X_train, data.Y_train)
    >>> display = SignalDisplay.from_estimator(
    ...     *(estimator, data.Y_test),
    ...     **{"X": data.X_test, "rows": [0, 3], "show_measurement": True},
    ...     **{"xlabel": "depth (m)", "measurement_ylabel": "gravity"},
    ... )
    >>> display.signals.shape, display.ax_.shape
    ((2, 16), (2,))
    """

    def __init__(
        self,
        signals: ArrayLike,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        *,
        truth: ArrayLike | None = None,
        grid: ArrayLike | None = None,
        coverage: float | None = None,
        name: str | None = None,
        measurement: ArrayLike | None = None,
        measurement_grid: ArrayLike | None = None,
    ):
        self.signals = signals
        self.lower = lower
        self.upper = upper
        self.truth = truth
        self.grid = grid
        self.coverage = coverage
        self.name = name
        self.measurement = measurement
        self.measurement_grid = measurement_grid

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        Y: ArrayLike,
        *,
        X: ArrayLike | None = None,
        rows: Any = 0,
        grid: ArrayLike | None = None,
        coverage: float = 0.9,
        name: str | None = None,
        show_measurement: bool | Auto = "auto",
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Reconstruct some of the measurements, with their intervals.

        Parameters
        ----------
        estimator : fitted estimator
            One of the four estimators, or a Reconstructor.
        Y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Measurements; NaN where one is missing, if the estimator takes that.
        X : array-like of shape (n_samples, n_features) or (n_samples,), default=None
            The true signals.
        rows : int or sequence of int, default=0
            The row to draw, or several rows, each on axes of its own.
        grid : array-like of shape (n_features,), default=None
            Where the features are.
        coverage : float, default=0.9
            Probability of the intervals, for each feature by itself.
        name : str, default=None
            Name in the legend; by default that of the class.
        show_measurement : "auto" or bool, default="auto"
            Whether to draw the measurements too; "auto" does where they are signals with noise:
            without an operator. With one, they get an axis of their own.
        ax : matplotlib Axes, or one for each row, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            As in :meth:`plot`, and ``measurement_grid``.

        Returns
        -------
        display : SignalDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there are no such rows, or if shapes do not fit.
        """
        found, truth, measurement = _reconstructed(estimator, Y, X, rows, coverage)
        options = {"truth": truth, "grid": grid, "coverage": coverage}
        options["name"] = type(estimator).__name__ if name is None else name
        alike = _measures_signals(estimator) and measurement.shape == found[0].shape
        if _is_shown(show_measurement, alike):
            options["measurement"] = measurement
            kwargs = {"measurement_ylabel": None if alike else "measurement"} | kwargs
        mean, lower, upper = found
        return cls.from_predictions(mean, lower, upper, **options, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        signals: ArrayLike,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        *,
        truth: ArrayLike | None = None,
        grid: ArrayLike | None = None,
        coverage: float | None = None,
        name: str | None = None,
        measurement: ArrayLike | None = None,
        measurement_grid: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Signals and the ends of their bands; other ``kwargs`` as in :meth:`plot`."""
        options: dict[str, Any] = {"truth": truth, "grid": grid, "coverage": coverage}
        options |= {"name": name, "measurement": measurement}
        options |= {"measurement_grid": measurement_grid}
        return cls(signals, lower, upper, **options).plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        title: str | None = None,
        xlabel: str = "feature",
        ylabel: str = "signal",
        measurement_ylabel: str | None = None,
        **kwargs: Any,
    ) -> "Self":
        """Draw the lines and the bands.

        Parameters
        ----------
        ax : matplotlib Axes, or one for each signal, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes, of several of the first.
        xlabel, ylabel : str, default="feature" and "signal"
            What the axes show, with the units.
        measurement_ylabel : str, default=None
            What the measurements are, with the units: they are then drawn on an axis of their own,
            on the right. By default they share the axis of the signals.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for the reconstruction.

        Returns
        -------
        display : SignalDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If shapes do not fit, or if there are more signals than axes.
        """
        signals, lower, upper, truth, grid = self._checked()
        measured, places = self._checked_measurement(signals, grid)
        axes = _axes_for(len(signals), ax)
        rows = zip(axes, signals, lower, upper, truth, strict=True)
        drawn = [_draw(*row, grid, self._labels(), kwargs) for row in rows]
        points = [
            _draw_measurement(*row, places, measurement_ylabel)
            for row in zip(axes, measured, strict=True)
        ]
        for each in axes:
            each.set(xlabel=xlabel, ylabel=ylabel)
            if ax is None:
                each.label_outer()
        _add_legend(axes[0], points[0])
        finish(self, axes[0], title)
        parts = np.array([axes, *zip(*drawn, strict=True), points], dtype=object)
        self.ax_, self.line_, self.band_, self.truth_, self.measurement_ = (
            parts if np.ndim(self.signals) == 2 else parts[:, 0]
        )
        return self

    def _labels(self):
        interval = "interval" if self.coverage is None else f"{100 * self.coverage:g} % interval"
        return {
            "line": "reconstruction" if self.name is None else self.name,
            "band": interval,
            "truth": "truth",
        }

    def _checked(self):
        """Signals, ends of the bands and truth, row by row, and the grid; the shapes fit."""
        signals = np.asarray(self.signals)
        if signals.ndim not in (1, 2) or signals.size == 0:
            raise ValueError(
                "signals must be of shape (n_features,) or (n_signals, n_features); "
                f"got {signals.shape}."
            )
        if (self.lower is None) != (self.upper is None):
            raise ValueError("A band has two ends: give lower and upper, or neither.")
        rows = [np.atleast_2d(signals)]
        for name in ("lower", "upper", "truth"):
            rows.append(_rows_like(signals, getattr(self, name), name))
        n_features = signals.shape[-1]
        grid = np.arange(n_features) if self.grid is None else np.asarray(self.grid)
        if grid.shape != (n_features,):
            raise ValueError(f"grid must be of shape ({n_features},); got {grid.shape}.")
        return *rows, grid

    def _checked_measurement(self, signals, grid):
        """The measurements, row by row, and where they are."""
        if self.measurement is None:
            return [None] * len(signals), grid
        rows = np.atleast_2d(np.asarray(self.measurement, dtype=float))
        if rows.ndim != 2 or len(rows) != len(signals):
            raise ValueError(
                f"measurement must have a row for each of the {len(signals)} signals; got the "
                f"shape {np.shape(self.measurement)}."
            )
        n_measurements = rows.shape[1]
        given = grid if self.measurement_grid is None else np.asarray(self.measurement_grid)
        if given.shape != (n_measurements,):
            raise ValueError(
                f"measurement_grid must be of shape ({n_measurements},), the places of the "
                f"measurements; got {given.shape}."
            )
        return rows, given


def _reconstructed(estimator, Y, X, rows, coverage):
    """Signals with the ends of their intervals, true signals if known, and measurements."""
    check_consistent_length(Y, X)
    chosen = _check_rows(rows, len(Y))
    Y = safe_indexing(Y, chosen)
    truth = None if X is None else safe_indexing(X, chosen)
    check_fitted(estimator, "predict", "posterior_interval")
    found = estimator.predict(Y), *estimator.posterior_interval(Y, coverage=coverage)
    shape = (-1,) if np.ndim(rows) == 0 else (len(chosen), -1)
    *found, truth, measurement = (
        None if array is None else np.reshape(array, shape) for array in (*found, truth, Y)
    )
    return found, truth, measurement


def _rows_like(signals, given, name):
    """An array of the shape of the signals as rows; None for each row where it is not given."""
    if given is None:
        return [None] * len(np.atleast_2d(signals))
    if np.shape(given) != signals.shape:
        raise ValueError(
            f"{name} must be of the shape of signals, {signals.shape}; got {np.shape(given)}."
        )
    return np.atleast_2d(given)


def _check_rows(rows, n_samples):
    """The rows as a list, none of which is beyond the last."""
    chosen = [operator.index(row) for row in np.atleast_1d(rows)]
    if not chosen or not all(-n_samples <= row < n_samples for row in chosen):
        raise ValueError(f"rows must be some of the {n_samples} measurements; got {rows!r}.")
    return [row % n_samples for row in chosen]


def _axes_for(n_signals, ax):
    """As many axes as there are signals, below each other on a new figure."""
    size = (6.4, 1.2 + (3.6 if n_signals == 1 else 1.8 * n_signals))
    options = {"nrows": n_signals, "sharex": True, "figsize": size, "layout": "constrained"}
    axes = np.atleast_1d(axes_or_new(ax, several=True, **options)).ravel()
    if len(axes) != n_signals:
        raise ValueError(f"Each signal needs axes: {n_signals} signals, {len(axes)} axes.")
    return axes


def _draw(ax, signal, lower, upper, truth, grid, labels, style):
    """The line of a signal, its band and the truth, where these are given."""
    point = {"marker": "o"} if len(grid) == 1 else {}  # a line of one point is not seen
    (line,) = ax.plot(grid, signal, **({"label": labels["line"]} | point | style))
    band = true = None
    if lower is not None:
        look = {"color": line.get_color(), "alpha": 0.3, "linewidth": 0}
        wide = (grid[0] + np.array([-0.1, 0.1]),) if len(grid) == 1 else (grid,)
        band = ax.fill_between(*wide, lower, upper, **look, label=labels["band"])
    if truth is not None:
        mark = "kx" if len(grid) == 1 else "k--"
        (true,) = ax.plot(grid, truth, mark, linewidth=1, label=labels["truth"])
    if len(grid) == 1:
        ax.set(xlim=(grid[0] - 0.5, grid[0] + 0.5), xticks=grid)
    return line, band, true


def _is_shown(show_measurement, alike):
    """Whether to draw measurements, which may be signals with noise."""
    if isinstance(show_measurement, str) and show_measurement == "auto":
        return alike
    return check_flag(show_measurement, "show_measurement")


def _measures_signals(estimator):
    """Whether measurements are signals with noise, as far as the estimator knows."""
    inner = getattr(estimator, "estimator_", estimator)
    return getattr(inner, "operator_", estimator) is None


def _draw_measurement(ax, measurement, places, label):
    """The points of a measurement; with a label, on axes that share only the x-axis."""
    if measurement is None:
        return None
    if label is not None:
        ax, signals_ax = ax.twinx(), ax
        ax.set_ylabel(label)
        signals_ax.set_zorder(ax.get_zorder() + 1)  # lines above points
        signals_ax.patch.set_visible(False)
    style = {"color": "0.5", "markersize": 4, "zorder": 1.5}
    return ax.plot(places, measurement, "o", **style, label="measurement")[0]


def _add_legend(ax, points):
    """One legend for the axes and those of the measurement."""
    handles, labels = ax.get_legend_handles_labels()
    if points is not None and points.axes is not ax:
        handles, labels = [*handles, points], [*labels, points.get_label()]
    ax.legend(handles, labels, framealpha=0.7)
