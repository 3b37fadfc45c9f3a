"""The score against epsilon."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import ValidationCurveDisplay
from sklearn.utils import check_array

from ..numerics.modes import own_modes
from .axes import axes_or_new, with_colour

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EpsilonPathDisplay"]

_R2 = "R² of the reconstruction"
_STYLES = {
    "Train": {"linestyle": "--", "marker": "x", "alpha": 0.6},
    "Test": {"linestyle": "-", "marker": "o"},
}


class EpsilonPathDisplay(ValidationCurveDisplay):
    """Score against epsilon, by cross-validation, with the best epsilon marked.

    A :class:`sklearn.model_selection.ValidationCurveDisplay` of the parameter ``epsilon``.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    lines_ : list of matplotlib Line2D, or None
        Mean scores of the training folds and of the test folds; None with error bars.
    fill_between_ : list of matplotlib PolyCollection, or None
        Their standard deviations.
    errorbar_ : list of matplotlib ErrorbarContainer, or None
        Means and standard deviations, if these are drawn as error bars.
    best_epsilon_ : float or None
        The epsilon with the highest mean score of the test folds; None if there is none.
    best_line_ : matplotlib Line2D or None
        The line at that epsilon.

    Examples
    --------
    >>> from skinvbayes.plotting import EpsilonPathDisplay
    >>> train, test = [[0.9, 0.9], [0.8, 0.9], [0.6, 0.7]], [[0.5, 0.6], [0.7, 0.8], [0.6, 0.7]]
    >>> display = EpsilonPathDisplay.from_predictions([0.01, 0.1, 1.0], train, test)
    >>> float(display.best_epsilon_)
    0.1
    """

    def __init__(
        self,
        *,
        param_name: str,
        param_range: ArrayLike,
        train_scores: ArrayLike,
        test_scores: ArrayLike,
        score_name: str | None = None,
    ):
        super().__init__(
            param_name=param_name,
            param_range=param_range,
            train_scores=train_scores,
            test_scores=test_scores,
            score_name=score_name,
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epsilon: ArrayLike,
        param_name: str = "epsilon",
        noise_level: float | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
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
        kwargs = {"score_type": "both", "negate_score": False} | kwargs
        if kwargs.get("score_name") is None:
            kwargs["score_name"] = _default_name(estimator, **kwargs)
        display = super().from_estimator(
            *(estimator, X, y),
            param_name=param_name,
            param_range=epsilon,
            ax=axes_or_new(ax),
            **kwargs,
        )
        return display._mark_noise(noise_level)

    @classmethod
    @own_modes()
    def from_predictions(
        cls,
        epsilon: ArrayLike,
        train_scores: ArrayLike,
        test_scores: ArrayLike,
        *,
        noise_level: float | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
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
            As in :meth:`plot`.

        Returns
        -------
        display : EpsilonPathDisplay
            The display, drawn.
        """
        arrays = {"epsilon": epsilon, "train_scores": train_scores, "test_scores": test_scores}
        epsilon, *scores = (
            check_array(
                array,
                ensure_2d=name != "epsilon",
                ensure_all_finite=True if name == "epsilon" else "allow-nan",
                input_name=name,
            )
            for name, array in arrays.items()
        )
        display = cls(
            param_name="epsilon",
            param_range=epsilon,
            train_scores=scores[0],
            test_scores=scores[1],
        )
        return display.plot(ax=axes_or_new(ax), **kwargs)._mark_noise(noise_level)

    def plot(
        self,
        ax: Any = None,
        *,
        negate_score: bool = False,
        score_name: str | None = None,
        score_type: str = "both",
        std_display_style: str = "fill_between",
        line_kw: Any = None,
        fill_between_kw: Any = None,
        errorbar_kw: Any = None,
    ) -> "Self":
        """Draw the scores over epsilon, on a logarithmic axis.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        negate_score : bool, default=False
            Whether to draw the negative of the scores, which turns those of scikit-learn that start
            with ``neg_`` into errors.
        score_name : str, default=None
            What is written at the axis of scores.
        score_type : {"test", "train", "both"}, default="both"
            Which scores to draw.
        std_display_style : {"errorbar", "fill_between"} or None, default="fill_between"
            How to draw the standard deviation over the folds.
        line_kw, fill_between_kw, errorbar_kw : dict, default=None
            Passed to matplotlib's methods ``plot``, ``fill_between`` and ``errorbar``.

        Returns
        -------
        display : EpsilonPathDisplay
            The display, drawn.
        """
        shown = _shown(score_type, std_display_style)
        ax = axes_or_new(ax)
        self.ax_, self.figure_ = ax, ax.figure
        bars = std_display_style == "errorbar"
        options = with_colour(ax, (errorbar_kw if bars else line_kw) or {})
        colour = options["color"]
        drawn = [self._draw(kind, bars, negate_score, options) for kind in shown]
        self.lines_: Any = None if bars else drawn
        self.errorbar_: Any = drawn if bars else None
        self.fill_between_ = None
        if std_display_style == "fill_between":
            fill = {"alpha": 0.2, "linewidth": 0} | (fill_between_kw or {})
            self.fill_between_ = [
                self._fill(kind, negate_score, {"color": colour} | fill) for kind in shown
            ]
        self._mark_best("Test" in shown, colour)
        name = self.score_name if score_name is None else score_name
        if name is None:
            name = "Negative score" if negate_score else "Score"
        self._set_scale()
        ax.set(xlabel=self.param_name, ylabel=name)
        ax.legend()
        return self

    def _statistics(self, kind, negate):
        """Epsilons in ascending order, with mean and standard deviation of the scores at each."""
        scores = np.asarray(self.train_scores if kind == "Train" else self.test_scores)
        order = np.argsort(self.param_range, kind="stable")
        scores = -scores[order] if negate else scores[order]
        return np.asarray(self.param_range)[order], scores.mean(axis=1), scores.std(axis=1)

    def _draw(self, kind, bars, negate, options):
        epsilon, mean, std = self._statistics(kind, negate)
        style = _STYLES[kind] | {"label": kind} | options
        if bars:
            return self.ax_.errorbar(epsilon, mean, std, **({"capsize": 3} | style))
        return self.ax_.plot(epsilon, mean, **style)[0]

    def _fill(self, kind, negate, style):
        epsilon, mean, std = self._statistics(kind, negate)
        return self.ax_.fill_between(epsilon, mean - std, mean + std, **style)

    def _mark_best(self, test_is_shown, colour):
        """A line at the epsilon of the highest mean score of the test folds."""
        epsilon, mean, _ = self._statistics("Test", negate=False)
        self.best_epsilon_ = self.best_line_ = None
        if test_is_shown and np.isfinite(mean).any():
            best = epsilon[np.nanargmax(mean)]
            self.best_epsilon_ = best
            style = {"color": colour, "linewidth": 1, "linestyle": "-.", "zorder": 1}
            self.best_line_ = self.ax_.axvline(best, label=f"best: {best:.3g}", **style)

    def _set_scale(self):
        """A logarithmic axis, with a linear part for an epsilon of zero."""
        epsilon = np.asarray(self.param_range)
        positive = epsilon[epsilon > 0]
        if len(positive) == len(epsilon):
            low, high = self.ax_.get_xlim()
            if len(epsilon) == 1:  # matplotlib's own limits around one point have no ticks
                low = min(low, epsilon[0] / 10) if low > 0 else epsilon[0] / 10
                self.ax_.set_xlim(low, max(high, 10 * epsilon[0]))
            self.ax_.set_xscale("log")
        elif len(positive):
            self.ax_.set_xscale("symlog", linthresh=positive.min())

    def _mark_noise(self, noise_level):
        self.ax_.set_xlabel("epsilon")
        if noise_level is not None:
            square = noise_level**2
            style = {"color": "k", "linestyle": ":", "label": f"δ²: {square:.3g}"}
            self.ax_.axvline(square, **style)
            self.ax_.legend()
        return self


def _shown(score_type, std_display_style):
    """The kinds of scores to draw; what cannot be drawn is refused."""
    if std_display_style not in ("errorbar", "fill_between", None):
        raise ValueError(
            'std_display_style must be "errorbar", "fill_between" or None; '
            f"got {std_display_style!r}."
        )
    kinds = {"test": ["Test"], "train": ["Train"], "both": ["Train", "Test"]}
    if score_type not in kinds:
        raise ValueError(f'score_type must be "test", "train" or "both"; got {score_type!r}.')
    return kinds[score_type]


def _default_name(estimator, *, scoring=None, negate_score=False, **kwargs):
    """What the score is called; None where scikit-learn finds a name."""
    if scoring is None and getattr(estimator, "scoring", None) is None:
        return f"Negative {_R2}" if negate_score else _R2
    if scoring is None or (callable(scoring) and not hasattr(scoring, "__name__")):
        return "Negative score" if negate_score else "Score"
    return None
