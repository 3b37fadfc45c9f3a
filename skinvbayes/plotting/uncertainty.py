"""Whether the estimator knows how large its errors are."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.utils import check_array, check_consistent_length

from ..numerics.checks import check_count, check_fitted
from ..numerics.modes import OwnModes
from ..numerics.types import Array
from .axes import axes_or_new, finish

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["UncertaintyDisplay"]


class UncertaintyDisplay(OwnModes):
    """Whether the standard deviations of reconstructions are as large as their errors.

    Features that are constant are left out: their errors of zero would count as well covered.

    Parameters
    ----------
    error : ndarray of shape (n_samples, n_features)
        Reconstructions minus signals.
    std : ndarray of shape (n_samples, n_features)
        The predicted standard deviations.
    name : str, default=None
        What the curve is called in the legend.
    constant : array-like of bool of shape (n_features,), default=None
        The features to leave out. By default those whose errors and standard deviations are all
        zero.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    line_ : matplotlib Line2D
        The curve.
    diagonal_ : matplotlib Line2D
        Where it should be.
    counts_ : ndarray of shape (n_bins,)
        How many errors the bins of the histogram have.
    counts_ax_ : matplotlib Axes
        The axes of the histogram, at the bottom of ``ax_``.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.plotting import UncertaintyDisplay
    >>> std = np.full((500, 2), 0.3)
    >>> error = std * np.random.RandomState(0).standard_normal(std.shape)
    >>> display = UncertaintyDisplay(error, std, name="calibrated").plot()
    >>> bool(abs(display.coverage([0.5, 0.9]) - [0.5, 0.9]).max() < 0.05)
    True
    >>> int(display.counts_.sum())
    1000
    """

    def __init__(
        self,
        error: ArrayLike,
        std: ArrayLike,
        *,
        name: str | None = None,
        constant: ArrayLike | None = None,
    ):
        self.error = error
        self.std = std
        self.name = name
        self.constant = constant

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Reconstruct test measurements with their standard deviations.

        Parameters
        ----------
        estimator : fitted estimator
            One of the four estimators.
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Their measurements.
        name : str, default=None
            Name in the legend; by default that of the class.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : UncertaintyDisplay
            The display, drawn.
        """
        name = type(estimator).__name__ if name is None else name
        check_fitted(estimator, "predict")
        found = estimator.predict(y, return_std=True)
        return cls.from_predictions(X, *found, name=name, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        X: ArrayLike,
        X_reconstructed: ArrayLike,
        std: ArrayLike,
        *,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Signals, reconstructions and standard deviations; ``kwargs`` as in :meth:`plot`.

        Features of which all signals have the same value are left out.
        """
        X, found, std = (_as_table(part) for part in (X, X_reconstructed, std))
        check_consistent_length(X, found, std)
        same = (np.ptp(X, axis=0) == 0) & (len(X) > 1)
        constant = same | _is_zero(found - X, std)
        return cls(found - X, std, name=name, constant=constant).plot(ax=ax, **kwargs)

    def coverage(self, nominal: float) -> Array:
        """Share of the errors within the central intervals of these nominal probabilities."""
        error, std = self._varying()
        within = norm.ppf((1 + np.asarray(nominal)) / 2)
        return (np.abs(error)[..., None] <= std[..., None] * within).mean(axis=0)

    def plot(
        self,
        *,
        ax: Any = None,
        title: str | None = None,
        kind: str = "coverage",
        n_bins: int = 10,
        **kwargs: Any,
    ) -> "Self":
        """Draw the curve beside the diagonal, where it should be, above a histogram.

        The histogram is flat for calibrated errors with ``kind="coverage"``, and says how sharp the
        estimator is with ``kind="error"``: the smaller the standard deviations, the sharper.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        kind : {"coverage", "error"}, default="coverage"
            The share of errors within intervals against their nominal probability, with the numbers
            of errors that only wider and wider intervals cover; or the root mean square error
            against the standard deviation, in bins of equal numbers, with the numbers of errors
            by their standard deviation.
        n_bins : int, default=10
            Number of bins.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        display : UncertaintyDisplay
            The display, drawn.
        """
        if kind not in ("coverage", "error"):
            raise ValueError(f'kind must be "coverage" or "error"; got {kind!r}.')
        n_bins = check_count(n_bins, "n_bins", least=1)
        ax = axes_or_new(ax)
        x, curve, counted, most = self._curve(kind, n_bins)
        (self.line_,) = ax.plot(x, curve, **({"marker": ".", "label": self._label()} | kwargs))
        known = [line for line in ax.lines if line.get_label() == _DIAGONAL]
        before = ax.get_xlim()[1] if known else 0.0
        style = {"color": "k", "linestyle": ":", "linewidth": 1, "label": _DIAGONAL}
        self.diagonal_ = known[0] if known else ax.axline((0, 0), slope=1, **style)
        self._draw_counts(ax, counted, np.linspace(0, most, n_bins + 1))
        labels = _LABELS[kind]
        limits = 0, max(before, most)
        ax.set(xlabel=labels[0], ylabel=labels[1], xlim=limits, ylim=limits, aspect="equal")
        ax.legend(fontsize="small", framealpha=0.7)
        return finish(self, ax, title)

    def _curve(self, kind, n_bins):
        """Abscissas and ordinates, what the histogram counts, and where the axes end."""
        error, std = self._varying()
        if kind == "coverage":
            x = np.linspace(0, 1, 41)[1:-1]
            ratio = np.divide(np.abs(error), std, out=np.full(len(std), np.inf), where=std > 0)
            ratio[error == 0] = 0
            return x, self.coverage(x), 2 * norm.cdf(ratio) - 1, 1.0
        order = np.argsort(std)
        bins = np.array_split(np.stack([std, error])[:, order], min(n_bins, len(std)), 1)
        x, curve = np.transpose([np.sqrt((values**2).mean(axis=1)) for values in bins])
        most = 1.05 * max(x.max(), curve.max(), np.quantile(std, 0.99))
        return x, curve, std, most if most > 0 else 1.0

    def _draw_counts(self, ax, values, edges):
        """A histogram in the lowest fifth of the axes; that of another display is shared."""
        found = [child for child in ax.child_axes if child.get_label() == _COUNTS]
        self.counts_ax_ = found[0] if found else _new_counts(ax)
        self.counts_ = np.histogram(np.clip(values, None, edges[-1]), edges)[0]
        self.counts_ax_.stairs(self.counts_, edges, fill=True, alpha=0.3, color=self._colour)
        self.counts_ax_.stairs(self.counts_, edges, color=self._colour, linewidth=0.8)
        top = max(self.counts_.max(), self.counts_ax_.get_ylim()[1] if found else 0)
        self.counts_ax_.set(ylim=(0, top), yticks=[0, top])

    @property
    def _colour(self):
        return self.line_.get_color()

    def _label(self):
        """The name with the number of errors, and that of the features which are left out."""
        n_left_out = int(self._constant().sum())
        parts = [f"{self._varying()[0].size:,} errors"]
        if n_left_out:
            parts.append(f"{n_left_out:,} constant feature{'s' * (n_left_out > 1)} left out")
        label = ", ".join(parts)
        return label if self.name is None else f"{self.name}\n({label})"

    def _constant(self):
        """Which features are left out."""
        error, std = np.asarray(self.error), np.asarray(self.std)
        if self.constant is None:
            return _is_zero(error, std)
        return np.asarray(self.constant, dtype=bool)

    def _varying(self):
        """Errors and standard deviations of the features that vary, as vectors."""
        varies = ~self._constant()
        if not varies.any():
            raise ValueError(
                "All features are constant, so that there are no errors to judge: give signals that"
                " differ."
            )
        return [np.asarray(part)[:, varies].ravel() for part in (self.error, self.std)]


_DIAGONAL, _COUNTS = "calibrated", "number of errors"
_LABELS = {
    "coverage": ("nominal coverage", "share of errors within"),
    "error": ("standard deviation", "root mean square error"),
}


def _as_table(values) -> Array:
    """An array of rows; signals of one feature may be a vector."""
    values = check_array(values, ensure_2d=False)
    return values.reshape(len(values), -1)


def _is_zero(error, std):
    return ((error == 0) & (std == 0)).all(axis=0)


def _new_counts(ax):
    """Axes for a histogram behind the lowest fifth of others."""
    counts = ax.inset_axes([0, 0, 1, 0.2], sharex=ax, zorder=0, label=_COUNTS)
    counts.patch.set_visible(False)
    counts.spines[:].set_visible(False)
    counts.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    counts.tick_params(right=True, labelright=True, labelsize="x-small")
    counts.yaxis.set_label_position("right")
    counts.set_ylabel("errors\nper bin", fontsize="x-small")
    return counts
