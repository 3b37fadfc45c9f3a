"""Curves of the training loss and of the score against epsilon."""

import numpy as np
from sklearn.model_selection import ValidationCurveDisplay
from sklearn.utils import check_array

from ..numerics.checks import check_fitted
from ..numerics.modes import OwnModes, own_modes
from .axes import axes_or_new, finish

__all__ = ["LossCurveDisplay", "EpsilonPathDisplay"]


class LossCurveDisplay(OwnModes):
    """The loss by iteration.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        The training loss.
    validation_loss_curve : array-like of shape (n_iter,), default=None
        The loss on pairs that were held out.
    name : str, default=None
        What the curve is called in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    """

    def __init__(self, loss_curve, validation_loss_curve=None, *, name=None):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, **kwargs):
        """The curves of a fitted estimator; ``kwargs`` as in :meth:`plot`."""
        name = type(estimator).__name__ if name is None else name
        check_fitted(estimator, "loss_curve_", "validation_loss_curve_")
        curves = estimator.loss_curve_, estimator.validation_loss_curve_
        return cls(*curves, name=name).plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, loss_curve, validation_loss_curve=None, *, name=None, ax=None, **kwargs
    ):
        """Given curves; ``kwargs`` as in :meth:`plot`."""
        return cls(loss_curve, validation_loss_curve, name=name).plot(ax=ax, **kwargs)

    def plot(self, *, ax=None, title=None, **kwargs):
        """Draw the curves. The loss is on a linear axis: a regularised one can be negative.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.
        """
        ax = axes_or_new(ax)
        iterations = 1 + np.arange(len(self.loss_curve))
        label = "training" if self.name is None else self.name
        (line,) = ax.plot(iterations, self.loss_curve, **({"label": label} | kwargs))
        if self.validation_loss_curve is not None:
            ax.plot(
                iterations,
                self.validation_loss_curve,
                linestyle="--",
                color=line.get_color(),
                label=f"{line.get_label()}, validation",
            )
        ax.set(xscale="log", xlabel="iteration", ylabel="mean loss")
        ax.legend()
        return finish(self, ax, title)


class EpsilonPathDisplay(ValidationCurveDisplay):
    """Score against epsilon, by cross-validation.

    A :class:`sklearn.model_selection.ValidationCurveDisplay` of the parameter ``epsilon``.
    """

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, epsilon, param_name="epsilon", noise_level=None, ax=None, **kwargs
    ):
        """Fit and score the estimator for every epsilon.

        Parameters
        ----------
        estimator : estimator
            A regularised estimator, or a pipeline, search or Reconstructor with one.
        X : array-like of shape (n_samples, n_features)
            Signals; of a Reconstructor the measurements.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Measurements; of a Reconstructor the signals.
        epsilon : array-like of shape (n_epsilons,)
            The values to try, in the units of y².
        param_name : str, default="epsilon"
            What the parameter is called, ``"estimator__epsilon"`` in a Reconstructor.
        noise_level : float, default=None
            When given, its square, the Bayesian choice, is marked.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            Passed to scikit-learn's display: ``cv``, ``scoring``, ``n_jobs``, …

        Returns
        -------
        display : EpsilonPathDisplay
            The display, drawn.
        """
        display = super().from_estimator(
            *(estimator, X, y),
            param_name=param_name,
            param_range=epsilon,
            ax=axes_or_new(ax),
            **({"score_type": "both", "negate_score": False} | kwargs),
        )
        return display._mark(noise_level)

    @classmethod
    @own_modes()
    def from_predictions(
        cls, epsilon, train_scores, test_scores, *, noise_level=None, ax=None, **kwargs
    ):
        """Draw scores that are at hand, such as those of a search.

        Parameters
        ----------
        epsilon : array-like of shape (n_epsilons,)
            The values that were tried.
        train_scores, test_scores : array-likes of shape (n_epsilons, n_folds)
            Scores of every fold.
        noise_level, ax
            As in :meth:`from_estimator`.
        **kwargs : dict
            As for ``plot`` of scikit-learn's display.

        Returns
        -------
        display : EpsilonPathDisplay
            The display, drawn.
        """
        arrays = {"epsilon": epsilon, "train_scores": train_scores, "test_scores": test_scores}
        epsilon, *scores = (
            check_array(array, ensure_2d=name != "epsilon", input_name=name)
            for name, array in arrays.items()
        )
        display = cls(
            param_name="epsilon",
            param_range=epsilon,
            train_scores=scores[0],
            test_scores=scores[1],
        )
        return display.plot(ax=axes_or_new(ax), **kwargs)._mark(noise_level)

    def _mark(self, noise_level):
        self.ax_.set(xscale="log", xlabel="epsilon")
        if noise_level is not None:
            self.ax_.axvline(noise_level**2, color="grey", linestyle=":", label="δ²")
            self.ax_.legend()
        return self
