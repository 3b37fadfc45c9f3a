"""Maps and vector fields of the plane."""

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_scalar

from ..numerics.checks import check_count, check_fitted
from ..numerics.modes import OwnModes
from ..numerics.types import Array
from .axes import axes_or_new, finish

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DeformedGridDisplay", "VectorFieldDisplay"]

_DIRECTIONS = {  # label and colour of the lines of a grid
    "lines that were vertical": "tab:blue",
    "lines that were horizontal": "tab:orange",
}


class DeformedGridDisplay(OwnModes):
    """An equidistant grid of measurements in the plane and where a reconstruction sends it.

    Parameters
    ----------
    lines : ndarray of shape (n_lines, n_points, 2)
        The images of the grid's lines; the first half of them were vertical.
    limit : float, default=2.0
        The grid covered [−limit, limit]².

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    lines_ : list of matplotlib Line2D
        The lines, in the order of ``lines``.

    Examples
    --------
    The MAP estimate draws measurements towards the two peaks of the signals.

    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.plotting import DeformedGridDisplay
    >>> data = make_bimodal(200, noise_level=0.4, random_state=0)
    >>> estimator = DivergenceRegularizedINN(max_iter=50, random_state=0).fit(data.X, data.Y)
    >>> display = DeformedGridDisplay.from_estimator(estimator, n_lines=11)
    >>> display.lines.shape
    (22, 81, 2)
    """

    def __init__(self, lines: ArrayLike, *, limit: float = 2.0):
        self.lines = lines
        self.limit = limit

    @staticmethod
    def grid(*, limit: float = 2.0, n_lines: int = 21, n_points: int = 81) -> Array:
        """The grid, ``n_lines`` in each direction, as points of shape (n_samples, 2)."""
        check_scalar(limit, "limit", numbers.Real, min_val=0, include_boundaries="neither")
        check_count(n_lines, "n_lines", least=1), check_count(n_points, "n_points", least=1)
        level, along = np.linspace(-limit, limit, n_lines), np.linspace(-limit, limit, n_points)
        upright = np.stack(np.meshgrid(level, along, indexing="ij"), axis=-1)
        return np.concatenate([upright, upright[:, :, ::-1]]).reshape(-1, 2)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> "Self":
        """Deform the grid by ``estimator.predict``; ``kwargs`` as in :meth:`from_function`."""
        check_fitted(estimator, "predict")
        return cls.from_function(estimator.predict, ax=ax, **kwargs)

    @classmethod
    def from_function(
        cls,
        function: Any,
        *,
        limit: float = 2.0,
        n_lines: int = 21,
        n_points: int = 81,
        ax: Any = None,
        title: str | None = None,
    ) -> "Self":
        """Deform the grid by any map of the plane.

        Parameters
        ----------
        function : callable
            Map of arrays of shape (n_samples, 2).
        limit : float, default=2.0
            The grid covers [−limit, limit]².
        n_lines, n_points : int
            Lines in each direction, and points on each line.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.

        Returns
        -------
        display : DeformedGridDisplay
            The display, drawn.
        """
        with torch.enable_grad():
            image = function(cls.grid(limit=limit, n_lines=n_lines, n_points=n_points))
        return cls.from_predictions(image, limit=limit, n_lines=n_lines, ax=ax, title=title)

    @classmethod
    def from_predictions(
        cls,
        X_reconstructed: ArrayLike,
        *,
        limit: float = 2.0,
        n_lines: int = 21,
        ax: Any = None,
        title: str | None = None,
    ) -> "Self":
        """Draw the grid from the reconstructions of :meth:`grid`.

        Parameters
        ----------
        X_reconstructed : array-like of shape (n_samples, 2)
            Where the points of the grid are sent.
        limit, n_lines
            As they were given to :meth:`grid`.
        ax, title
            As in :meth:`from_function`.

        Returns
        -------
        display : DeformedGridDisplay
            The display, drawn.
        """
        image = check_array(X_reconstructed, input_name="X_reconstructed")
        return cls(image.reshape(2 * n_lines, -1, 2), limit=limit).plot(ax=ax, title=title)

    def plot(self, *, ax: Any = None, title: str | None = None) -> "Self":
        """Draw the lines; those that were vertical in blue, the horizontal ones in orange.

        A legend of ``ax_``, or of its figure, has one entry for each of the two.
        """
        ax = axes_or_new(ax)
        self.lines_ = []
        halves = np.array_split(self.lines, 2)
        for lines, (label, colour) in zip(halves, _DIRECTIONS.items(), strict=True):
            style = {"color": colour, "linewidth": 0.6}
            drawn = ax.plot(*lines.transpose(2, 1, 0), **style)
            drawn[0].set_label(label)
            self.lines_ += drawn
        limits = (-self.limit, self.limit)
        ax.set(xlim=limits, ylim=limits, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        return finish(self, ax, title)


class VectorFieldDisplay(OwnModes):
    """A vector field of the plane, as arrows.

    Parameters
    ----------
    points, vectors : ndarrays of shape (n_samples, 2)
        Where the arrows start, and what they show.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    quiver_ : matplotlib Quiver
        The arrows.

    Examples
    --------
    The learned score of the signals, ∇ log p, points to where signals are frequent.

    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.plotting import VectorFieldDisplay
    >>> data = make_bimodal(200, noise_level=0.4, random_state=0)
    >>> estimator = DivergenceRegularizedINN(max_iter=50, random_state=0).fit(data.X, data.Y)
    >>> display = VectorFieldDisplay.from_estimator(
    ...     estimator, data.X[:50], response_method="prior_score", scale=20
    ... )
    >>> display.vectors.shape
    (50, 2)
    """

    def __init__(self, points: ArrayLike, vectors: ArrayLike):
        self.points = points
        self.vectors = vectors

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        response_method: str = "prior_term",
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Arrows of what an estimator has learned of the prior.

        Parameters
        ----------
        estimator : fitted estimator
            One of the four estimators, of two features.
        X : array-like of shape (n_samples, 2)
            Signals, where the arrows start.
        response_method : {"prior_term", "prior_score"}, default="prior_term"
            The method that gives the vectors.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : VectorFieldDisplay
            The display, drawn.
        """
        check_fitted(estimator, response_method)
        return cls.from_predictions(X, getattr(estimator, response_method)(X), ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, X: ArrayLike, vectors: ArrayLike, *, ax: Any = None, **kwargs: Any
    ) -> "Self":
        """Arrows of given vectors; ``kwargs`` as in :meth:`plot`."""
        X, vectors = check_array(X), check_array(vectors, input_name="vectors")
        return cls(X, vectors).plot(ax=ax, **kwargs)

    def plot(
        self, *, ax: Any = None, title: str | None = None, scale: float = 1.0, **kwargs: Any
    ) -> "Self":
        """Draw the arrows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        scale : float, default=1.0
            A vector of length ``scale`` is drawn as long as one unit of the axes.
        **kwargs : dict
            Passed to matplotlib's ``quiver``.

        Returns
        -------
        display : VectorFieldDisplay
            The display, drawn.
        """
        ax = axes_or_new(ax)
        style = {"angles": "xy", "scale_units": "xy", "width": 0.004, "zorder": 3} | kwargs
        self.quiver_ = ax.quiver(
            *np.transpose(self.points), *np.transpose(self.vectors), scale=scale, **style
        )
        ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        return finish(self, ax, title)
