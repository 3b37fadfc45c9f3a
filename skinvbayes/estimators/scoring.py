"""Scorers for the estimators' own direction, ``fit(X, Y)`` and ``predict(Y)``."""

from typing import Any

from sklearn.base import is_regressor
from sklearn.metrics import get_scorer
from sklearn.utils.validation import check_array

from ..numerics.sklearn_compat import Scorer, scorer_parts
from ..operators.real import refuse_complex_data
from .wrapped import Wrapped

__all__ = ["reconstruction_scorer"]


class _ReconstructionScorer(Scorer):
    """A scorer of scikit-learn in which signals and measurements change places."""

    def compared(self, estimator, X, y):
        if is_regressor(estimator):
            raise ValueError(
                f"{type(estimator).__name__} predicts y from X: use scikit-learn's own scorers "
                "with it. reconstruction_scorer is for estimators with fit(X, Y) and predict(Y)."
            )
        refuse_complex_data(X, "X")
        signals = check_array(X, dtype=None, input_name="X")
        return signals, Wrapped(estimator).predict(y)

    def __repr__(self):
        return super().__repr__().replace("make_scorer", "reconstruction_scorer")


def reconstruction_scorer(
    metric: Any = "r2", *, greater_is_better: bool = True, **kwargs: Any
) -> Any:
    """Make a scorer that compares ``estimator.predict(Y)`` with the signals X.

    For searches and cross-validation of estimators with ``fit(X, Y)`` and ``predict(Y)``, for which
    scikit-learn's own scorers would compare ``predict(X)`` with Y. In a pipeline the last step
    reconstructs, and the steps before it are inverted.

    Parameters
    ----------
    metric : str or callable, default="r2"
        The name of one of scikit-learn's scorers, or ``metric(X_true, X_found) -> float``.
    greater_is_better : bool, default=True
        False for a metric that is a loss, whose sign is changed. Not used for names.
    **kwargs : dict
        More arguments of the metric.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, Y) -> float``; greater is better. Weights of the samples and other
        metadata as with the scorers of :func:`sklearn.metrics.make_scorer`.

    Raises
    ------
    ValueError
        From the scorer, if the estimator is a regressor such as :class:`Reconstructor`.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skinvbayes import DivergenceRegularizedINN, reconstruction_scorer
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(300, noise_level=0.3, random_state=0)
    >>> search = GridSearchCV(
    ...     DivergenceRegularizedINN(max_iter=30, random_state=0),
    ...     {"epsilon": [0.001, 0.09, 5.0]},
    ...     scoring=reconstruction_scorer("neg_root_mean_squared_error"),
    ...     cv=3,
    ... )
    >>> search.fit(problem.X, problem.Y).best_params_
    {'epsilon': 0.09}
    """
    if isinstance(metric, str):
        function, sign, arguments = scorer_parts(get_scorer(metric))
        return _ReconstructionScorer(function, sign, arguments | kwargs)
    if not callable(metric):
        raise TypeError(f"metric must be a name or a callable; got {metric!r}.")
    return _ReconstructionScorer(metric, 1 if greater_is_better else -1, kwargs)
