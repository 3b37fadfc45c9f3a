"""Curves of the training loss."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length

from ..numerics.checks import check_fitted
from ..numerics.modes import OwnModes
from .axes import axes_or_new, darker, finish

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LossCurveDisplay"]


class LossCurveDisplay(OwnModes):
    """The loss by iteration, with the best and the last one marked.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        The training loss.
    validation_loss_curve : array-like of shape (n_iter,), default=None
        The loss on pairs that were held out; NaN where it is not known.
    name : str, default=None
        What the curve is called in the legend.
    training_stages : list of tuple (str or None, int), default=None
        Name of the loss of each stage of the training, and number of its iterations.
    best_loss : float, default=None
        The lowest loss of the last training. By default the lowest of the last stage, on the pairs
        that were held out where there are any.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    line_, validation_line_ : matplotlib Line2D
        The curves; without validation the second is None.
    stage_lines_ : list of matplotlib Line2D
        Where one stage ends and the next begins.
    best_, last_ : matplotlib PathCollection or None
        The marks of the best iteration, a star, and of the last one, where training stopped, a
        square.
    best_iteration_ : int or None
        The iteration with the lowest loss of the last stage, counted from 1. With early stopping,
        the estimator has the weights of this one, otherwise those of the last one.

    Examples
    --------
    >>> from skinvbayes import LogDetRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.plotting import LossCurveDisplay
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = LogDetRegularizedINN(max_iter=40, random_state=0).fit(problem.X, problem.Y)
    >>> display = LossCurveDisplay.from_estimator(estimator)
    >>> [name for name, n_iter in display.training_stages]
    ['DivergenceLoss', 'LogDetLoss']
    """

    def __init__(
        self,
        loss_curve: ArrayLike,
        validation_loss_curve: ArrayLike | None = None,
        *,
        name: str | None = None,
        training_stages: Any = None,
        best_loss: float | None = None,
    ):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.name = name
        self.training_stages = training_stages
        self.best_loss = best_loss

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, name: str | None = None, ax: Any = None, **kwargs: Any
    ) -> "Self":
        """The curves of a fitted estimator; ``kwargs`` as in :meth:`plot`."""
        name = type(estimator).__name__ if name is None else name
        check_fitted(estimator, "loss_curve_", "validation_loss_curve_")
        display = cls(
            *(estimator.loss_curve_, estimator.validation_loss_curve_),
            name=name,
            training_stages=getattr(estimator, "training_stages_", None),
            best_loss=getattr(estimator, "best_loss_", None),
        )
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        loss_curve: ArrayLike,
        validation_loss_curve: ArrayLike | None = None,
        *,
        name: str | None = None,
        training_stages: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Given curves; ``kwargs`` as in :meth:`plot`."""
        curves = loss_curve, validation_loss_curve
        return cls(*curves, name=name, training_stages=training_stages).plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, title: str | None = None, **kwargs: Any) -> "Self":
        """Draw the curves. The loss is on a linear axis: a regularised one can be negative.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for the training loss.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.
        """
        check_consistent_length(self.loss_curve, self.validation_loss_curve)
        new_axes = ax is None or not ax_has_curves(ax)
        ax = axes_or_new(ax)
        iterations = 1 + np.arange(np.size(self.loss_curve))
        style = {"label": "training" if self.name is None else self.name}
        style |= {"marker": "."} if len(iterations) <= _FEW else {}
        (self.line_,) = ax.plot(iterations, self.loss_curve, **(style | kwargs))
        self.validation_line_ = None
        if self.validation_loss_curve is not None:
            style["label"] = f"{self.line_.get_label()}, validation"
            style |= {"linestyle": "--", "color": darker(self.line_.get_color())}
            (self.validation_line_,) = ax.plot(iterations, self.validation_loss_curve, **style)
        self._mark_stages(ax)
        self._mark_iterations(ax)
        label = self._loss_label()
        if not new_axes and ax.get_ylabel() != label:
            label = _MEAN_LOSS
        ax.set(xlabel="iteration", ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize="small", framealpha=0.7)
        return finish(self, ax, title)

    def _mark_stages(self, ax):
        """A line between stages, with the names of their losses in the legend."""
        stages = self._stages()
        ends = np.cumsum([n_iter for _, n_iter in stages])
        self.stage_lines_ = []
        for end, (before, _), (after, _) in zip(ends, stages, stages[1:], strict=False):
            label = f"{_in_words(after)} from iteration {end + 1}"
            if before is not None:
                label = f"{_in_words(before)} until iteration {end}, then {_in_words(after)}"
            style = {"color": self.line_.get_color(), "linestyle": ":", "linewidth": 1}
            self.stage_lines_.append(ax.axvline(end + 0.5, label=label, **style))

    def _mark_iterations(self, ax):
        """A star at the best iteration, a square at the last one."""
        self.best_iteration_, last = self._best_iteration(), len(self.loss_curve)
        self.best_ = self.last_ = None
        if last == 0:
            return
        judged = self.line_ if self.validation_line_ is None else self.validation_line_
        stopped = f"stopped after {last}"
        if self.best_iteration_ is not None:
            what = "loss" if judged is self.line_ else "validation loss"
            label = f"lowest {what} at iteration {self.best_iteration_}, {stopped}"
            self.best_ = _mark(ax, judged, self.best_iteration_, "*", label)
        label = stopped if self.best_ is None else None
        self.last_ = _mark(ax, self.line_, last, "s", label)

    def _best_iteration(self):
        judged = self.loss_curve
        if self.validation_loss_curve is not None:
            judged = self.validation_loss_curve
        curve = np.asarray(judged, dtype=float)
        n_before = sum(n_iter for _, n_iter in self._stages()[:-1])
        lowest = self.best_loss
        if lowest is None or lowest not in curve[n_before:]:
            if not np.isfinite(curve[n_before:]).any():
                return None
            lowest = np.nanmin(curve[n_before:])
        return 1 + int(np.flatnonzero(curve == lowest)[-1])

    def _stages(self):
        return [] if self.training_stages is None else list(self.training_stages)

    def _loss_label(self):
        """The name of the loss, where there is only one."""
        names = {name for name, _ in self._stages()}
        return f"mean {_in_words(*names)}" if len(names) == 1 and None not in names else _MEAN_LOSS


_MEAN_LOSS = "mean loss"
_FEW = 30  # iterations, each of which is then a point


def ax_has_curves(ax: Any):
    """Whether something has been drawn on axes; what is no axes is refused later."""
    return bool(getattr(ax, "lines", ()))


def _in_words(name):
    """The name of a class in small letters, its words separated: "log det loss"."""
    return "unknown loss" if name is None else re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _mark(ax, line, iteration, marker, label):
    """Mark an iteration on a line."""
    x, y = line.get_data()
    place = x[iteration - 1], y[iteration - 1]
    style = {"color": line.get_color(), "edgecolor": "k", "linewidth": 0.6}
    style["zorder"] = 5 if marker == "*" else 4
    size = 110 if marker == "*" else 24
    return ax.scatter(*place, s=size, marker=marker, label=label, **style)
