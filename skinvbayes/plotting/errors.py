"""How large the errors of the reconstruction and of the forward map are."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from ..numerics.checks import check_fitted
from ..numerics.errors import row_rmse
from ..numerics.modes import OwnModes
from .axes import axes_or_new, finish

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ErrorTradeOffDisplay"]


class ErrorTradeOffDisplay(OwnModes):
    """Error of the reconstruction against error of the forward map: one point for a method.

    Parameters
    ----------
    reconstruction_error : float
        Root mean square distance of reconstructions from signals.
    forward_error : float
        Root mean square distance between the predicted forward map φ(x) and z.
    name : str, default=None
        What the point is called in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    line_ : matplotlib Line2D
        The point.

    Examples
    --------
    Without regularisation the forward map is better, and the reconstruction is worse.

    >>> from skinvbayes import ApproximationINN, DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.plotting import ErrorTradeOffDisplay
    >>> data, test = (make_bimodal(200, noise_level=0.4, random_state=i) for i in (0, 1))
    >>> approximation = ApproximationINN(random_state=0).fit(data.X, data.Y)
    >>> divergence = DivergenceRegularizedINN(max_iter=50, random_state=0).fit(data.X, data.Y)
    >>> plain = ErrorTradeOffDisplay.from_estimator(approximation, test.X, test.Y)
    >>> regularised = ErrorTradeOffDisplay.from_estimator(
    ...     divergence, test.X, test.Y, ax=plain.ax_
    ... )
    >>> bool(plain.forward_error < regularised.forward_error)
    True
    >>> bool(plain.reconstruction_error > regularised.reconstruction_error)
    True
    """

    def __init__(
        self, reconstruction_error: float, forward_error: float, *, name: str | None = None
    ):
        self.reconstruction_error = reconstruction_error
        self.forward_error = forward_error
        self.name = name

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
        """Both errors of an estimator on test data, noise included.

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
        display : ErrorTradeOffDisplay
            The display, drawn.
        """
        check_fitted(estimator, "problem_", "predict", "transform")
        Y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        Z = estimator.problem_.targets(Y.reshape(len(Y), -1))
        return cls.from_predictions(
            *(X, estimator.predict(y), Z, estimator.transform(X)),
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        X: ArrayLike,
        X_reconstructed: ArrayLike,
        Z: ArrayLike,
        Z_predicted: ArrayLike,
        *,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Both errors from signals, reconstructions, measurements and predicted measurements.

        Parameters
        ----------
        X, X_reconstructed : array-likes of shape (n_samples, n_features)
            True and reconstructed signals.
        Z, Z_predicted : array-likes of shape (n_samples, n_features)
            Measurements as z (``Aᵀ y``, or y without an operator) and what the forward map makes
            of the signals.
        name, ax, kwargs
            As in :meth:`from_estimator`.

        Returns
        -------
        display : ErrorTradeOffDisplay
            The display, drawn.
        """
        pairs = (X_reconstructed, X), (Z_predicted, Z)
        errors = [row_rmse(*map(check_array, pair)) for pair in pairs]
        return cls(*errors, name=name).plot(ax=ax, **kwargs)

    def plot(
        self, *, ax: Any = None, title: str | None = None, reference: Any = None, **kwargs: Any
    ) -> "Self":
        """Draw the point.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        reference : tuple of two floats, default=None
            Errors to which the reconstruction's and the forward map's are shown in proportion, such
            as those of an oracle.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        display : ErrorTradeOffDisplay
            The display, drawn.
        """
        ax = axes_or_new(ax)
        style = {"marker": "o", "linestyle": "none", "label": self.name} | kwargs
        unit, of = ((1.0, 1.0), "") if reference is None else (reference, " / reference")
        point = self.reconstruction_error / unit[0], self.forward_error / unit[1]
        (self.line_,) = ax.plot(*point, **style)
        ax.set(
            xlabel=f"reconstruction error, RMSE of φ⁻¹(z) to x{of}",
            ylabel=f"forward error, RMSE of φ(x) to z{of}",
        )
        if style["label"] is not None:
            ax.legend()
        return finish(self, ax, title)
