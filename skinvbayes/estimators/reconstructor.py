"""The usual direction, ``fit(Y, X).predict(Y)``, and scorers for the estimators' own direction."""

import numpy as np
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    MultiOutputMixin,
    RegressorMixin,
    clone,
    is_regressor,
)
from sklearn.metrics import get_scorer
from sklearn.metrics._scorer import _BaseScorer
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ..training.progress import CallbackSupportMixin, FitTask, with_callbacks
from .base import BaseINN
from .lazy import chunkwise
from .point_estimators import DivergenceRegularizedINN
from .r2 import variance_weighted_r2
from .validation import is_given

__all__ = ["Reconstructor", "reconstruction_scorer"]

_CHECKED = {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}


def _inner_has(name):
    def check(self):
        inner = getattr(self, "estimator_", None) or self._template()
        getattr(inner, name)  # raises AttributeError where it is missing
        return True

    return check


class Reconstructor(
    CallbackSupportMixin, RegressorMixin, MultiOutputMixin, MetaEstimatorMixin, BaseEstimator
):
    """Regressor from measurements to signals: an estimator of this package in the usual direction.

    ``Reconstructor(estimator).fit(Y, X).predict(Y)`` is ``estimator.fit(X, Y).predict(Y)``. Every
    scorer, pipeline, search and ensemble of scikit-learn works with it. It also reconstructs
    through a pipeline, by the inverse of the steps before the last.

    Parameters
    ----------
    estimator : estimator, default=None
        What to wrap, with ``fit(X, Y)`` and ``predict(Y)``: an estimator of this package, or a
        pipeline that ends in one and whose other steps scale the signals and can be inverted, or
        a search over either. :class:`DivergenceRegularizedINN` by default. It is cloned.
    random_state : int, RandomState instance or None, default=None
        Source of the estimator's ``random_state``. None leaves that as it is.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    n_features_in_ : int
        Number of measurements for each signal.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the measurements, where they have names.

    See Also
    --------
    reconstruction_scorer : Scorers for the estimators' own direction.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from skinvbayes import DivergenceRegularizedINN, Reconstructor
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(300, noise_level=0.3, random_state=0)
    >>> regressor = Reconstructor(DivergenceRegularizedINN(max_iter=50), random_state=0)
    >>> scores = cross_val_score(regressor, problem.Y, problem.X, scoring="r2", cv=3)
    >>> bool(scores.mean() > 0.7)
    True
    """

    __metadata_request__fit = {"sample_weight": UNUSED}  # it is the estimator's

    def __init__(self, estimator=None, *, random_state=None):
        self.estimator = estimator
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = self._reads_missing
        return tags

    def get_metadata_routing(self):
        """Route the metadata of ``fit`` and ``predict`` to the estimator.

        Returns
        -------
        routing : MetadataRouter
            The routing.
        """
        mapping = MethodMapping()
        for method in ("fit", "predict"):
            mapping.add(caller=method, callee=method)
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        return router.add(estimator=self._template(), method_mapping=mapping)

    @with_callbacks
    def fit(self, X, y, sample_weight=None, **fit_params):
        """Learn to reconstruct.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_measurements)
            Measurements; NaN is a missing one, with an estimator that takes them.
        y : array-like of shape (n_samples, n_features) or (n_samples,)
            Signals.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each pair counts; handed to the estimator.
        **fit_params : dict
            Further metadata for the estimator's ``fit``.

        Returns
        -------
        self : Reconstructor
            The fitted regressor.
        """
        Y, signals = validate_data(
            self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2, **_CHECKED
        )
        self._refuse_missing(Y, self._trains_missing)
        self._signal_ndim = signals.ndim
        named = hasattr(y, "columns")  # their names are for the estimator
        signals = y if named else signals.reshape(len(Y), -1)
        if sample_weight is not None:
            fit_params["sample_weight"] = sample_weight
        routed = self._routed("fit", fit_params)
        task = FitTask(self, 1, X=X, y=y)
        self.estimator_ = clone(self._template())
        self._seed(self.estimator_)
        with task.propagate(self.estimator_):
            self.estimator_.fit(signals, Y, **routed)
        task.end()
        return self

    @chunkwise
    def predict(self, X, **predict_params):
        """Reconstruct signals.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements)
            Measurements.
        **predict_params : dict
            Metadata and options for the estimator's ``predict``, such as ``return_std``.

        Returns
        -------
        signals : ndarray of shape (n_samples, n_features) or (n_samples,)
            Reconstructions, one-dimensional if the signals given to ``fit`` were.
        """
        Y = self._check_measurements(X)
        found = _reconstruct(self.estimator_, Y, **self._routed("predict", predict_params))
        if isinstance(found, tuple):  # with return_std
            return tuple(self._shaped(part) for part in found)
        return self._shaped(found)

    def score(self, X, y, sample_weight=None):
        """Variance-weighted R² of the reconstruction.

        With dask arrays it is computed at once, in one pass over the chunks.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements)
            Measurements.
        y : array-like or dask array of shape (n_samples, n_features) or (n_samples,)
            True signals.
        sample_weight : array-like or dask array of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            1 for perfect reconstruction, 0 for that of the mean signal.
        """
        return variance_weighted_r2(y, self.predict(X), sample_weight)

    @available_if(_inner_has("posterior_covariance"))
    @chunkwise
    def posterior_covariance(self, X, **options):
        """Covariance of the error, ``estimator_.posterior_covariance``.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements)
            Measurements.
        **options : dict
            As for the estimator.

        Returns
        -------
        covariance : ndarray of shape (n_samples, n_features, n_features)
            Symmetric positive definite matrices.
        """
        return self.estimator_.posterior_covariance(self._check_measurements(X), **options)

    @available_if(_inner_has("posterior_interval"))
    @chunkwise
    def posterior_interval(self, X, coverage=0.9, **options):
        """Intervals for each coordinate, ``estimator_.posterior_interval``.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements)
            Measurements.
        coverage : float, default=0.9
            Probability for each coordinate by itself.
        **options : dict
            As for the estimator.

        Returns
        -------
        lower, upper : ndarrays of shape (n_samples, n_features)
            Ends of the intervals.
        """
        return self.estimator_.posterior_interval(self._check_measurements(X), coverage, **options)

    @available_if(_inner_has("sample_posterior"))
    def sample_posterior(self, X, n_samples=1, **options):
        """Signals that could have led to the measurements, ``estimator_.sample_posterior``.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_measurements)
            Measurements.
        n_samples : int, default=1
            Number of signals for each measurement.
        **options : dict
            As for the estimator.

        Returns
        -------
        samples : ndarray of shape (n_samples_X, n_samples, n_features)
            Signals.
        """
        return self.estimator_.sample_posterior(self._check_measurements(X), n_samples, **options)

    @available_if(_inner_has("transform"))
    @chunkwise
    def forward(self, X):
        """The learned forward map of signals, ``estimator_.transform``.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            ``φ(x)``, in the units of ``Aᵀ y`` (of y without an operator).
        """
        check_is_fitted(self)
        return self.estimator_.transform(X)

    def _check_measurements(self, X):
        check_is_fitted(self)
        Y = validate_data(self, X, reset=False, **_CHECKED)
        self._refuse_missing(Y, self._reads_missing)
        return Y

    @property
    def _trains_missing(self):
        """Whether ``fit`` takes NaN for a missing measurement."""
        return is_given(getattr(_learner(self._template()), "operator", None))

    @property
    def _reads_missing(self):
        """Whether ``predict`` does so too; scikit-learn has one tag for both."""
        learner = _learner(self._template())
        return self._trains_missing and getattr(learner, "_reads_missing", False)

    def _refuse_missing(self, Y, allowed):
        missing = np.isnan(Y)
        if missing.any() and not allowed:
            raise ValueError(
                f"Input X contains NaN: {missing.sum()} measurements are missing. Only "
                "Reconstructor(DivergenceRegularizedINN(operator=A)), with an operator that is "
                "given, reads rows with missing measurements; take it, or impute them."
            )

    def _shaped(self, signals):
        return signals.ravel() if self._signal_ndim == 1 else signals

    def _template(self):
        return DivergenceRegularizedINN() if self.estimator is None else self.estimator

    def _routed(self, method, params):
        """The metadata for a method of the estimator."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, method, **params)["estimator"][method]
        return params

    def _seed(self, estimator):
        if self.random_state is None:
            return
        rng = check_random_state(self.random_state)
        for name in sorted(estimator.get_params()):
            if name == "random_state" or name.endswith("__random_state"):
                estimator.set_params(**{name: rng.randint(2**31 - 1)})


class _ReconstructionScorer(_BaseScorer):
    """A scorer of scikit-learn in which signals and measurements change places."""

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        if is_regressor(estimator):
            raise ValueError(
                f"{type(estimator).__name__} predicts y from X: use scikit-learn's own scorers "
                "with it. reconstruction_scorer is for estimators with fit(X, Y) and predict(Y)."
            )
        signals = check_array(X, dtype=None, input_name="X")
        found = _reconstruct(estimator, y_true)
        return self._sign * self._score_func(signals, found, **self._kwargs | kwargs)

    def __repr__(self):
        return super().__repr__().replace("make_scorer", "reconstruction_scorer")


def reconstruction_scorer(metric="r2", *, greater_is_better=True, **kwargs):
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
        scorer = get_scorer(metric)
        return _ReconstructionScorer(scorer._score_func, scorer._sign, scorer._kwargs | kwargs)
    if not callable(metric):
        raise TypeError(f"metric must be a name or a callable; got {metric!r}.")
    return _ReconstructionScorer(metric, 1 if greater_is_better else -1, kwargs)


def _learner(estimator):
    """The estimator of this package in a pipeline or a search; None if there is none."""
    if estimator is None or isinstance(estimator, BaseINN):
        return estimator
    last = isinstance(estimator, Pipeline)
    return _learner(estimator[-1] if last else getattr(estimator, "estimator", None))


def _reconstruct(estimator, Y, **params):
    """Predict signals; of a pipeline, with its last step and the inverse of the other steps.

    ``Pipeline.predict`` would transform the measurements as if they were signals.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return estimator.predict(Y, **params)
    found = _reconstruct(estimator[-1], Y, **params)
    if isinstance(found, tuple) and len(estimator) > 1:
        raise ValueError(
            "The standard deviation cannot be taken back through the steps of a pipeline. Wrap the "
            "estimator without them: it scales signals and measurements by itself."
        )
    return estimator[:-1].inverse_transform(found) if len(estimator) > 1 else found
