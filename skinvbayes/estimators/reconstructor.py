"""The usual direction, ``fit(Y, X).predict(Y)``."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    MultiOutputMixin,
    RegressorMixin,
    clone,
)
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ..numerics.modes import own_modes
from ..numerics.sklearn_compat import CallbackSupportMixin, with_callbacks
from ..numerics.types import Array, RandomState
from ..operators.real import refuse_complex_data
from ..training.progress import FitTask
from .all_or_nothing import all_or_nothing
from .base import BaseINN
from .doc_link import DocLink
from .lazy import chunkwise
from .operator_parameter import ShortRepr
from .persistence import StoredState
from .point_estimators import DivergenceRegularizedINN
from .r2 import variance_weighted_r2
from .reconstructor_posterior import ReconstructorPosterior, inner_has
from .validation import is_given
from .wrapped import Wrapped, inner_estimator

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Reconstructor"]

_CHECKED = {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}


def _estimator_has(name):
    return lambda self: hasattr(self._current, name)


class Reconstructor(
    ShortRepr,
    StoredState,
    ReconstructorPosterior,
    CallbackSupportMixin,
    RegressorMixin,
    MultiOutputMixin,
    MetaEstimatorMixin,
    DocLink,
    BaseEstimator,
):
    """Regressor from measurements to signals: an estimator of this package in the usual direction.

    ``Reconstructor(estimator).fit(Y, X).predict(Y)`` is ``estimator.fit(X, Y).predict(Y)``. Every
    scorer, pipeline, search and ensemble of scikit-learn works with it. It also reconstructs
    through a pipeline, by the inverse of the steps before the last, and what it says of the
    uncertainty is in the units of the signals too: exactly where these steps are linear, and else
    by draws from the posterior (:meth:`posterior_covariance`).

    Parameters
    ----------
    estimator : estimator, default=None
        What to wrap, with ``fit(X, Y)`` and ``predict(Y)``: an estimator of this package, or a
        pipeline that ends in one and whose other steps scale the signals and can be inverted, or
        a search over either. :class:`DivergenceRegularizedINN` by default. It is cloned. With its
        ``warm_start=True`` another ``fit`` goes on from the last one, but not through a pipeline or
        a search.
    random_state : int, RandomState instance or None, default=None
        Source of the estimator's ``random_state``. None leaves that as it is.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    n_features_in_ : int
        Number of measurements for each signal.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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

    # these are the estimator's
    __metadata_request__fit = dict.fromkeys(["sample_weight", "X_val", "y_val"], UNUSED)
    __metadata_request__partial_fit = {"sample_weight": UNUSED}

    def __init__(self, estimator: Any = None, *, random_state: RandomState = None):
        self.estimator = estimator
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = self._reads_missing
        return tags

    def get_metadata_routing(self) -> Any:
        """Route the metadata of ``fit``, ``partial_fit`` and ``predict`` to the estimator.

        Returns
        -------
        routing : MetadataRouter
            The routing.
        """
        mapping = MethodMapping()
        for method in ("fit", "partial_fit", "predict"):
            mapping.add(caller=method, callee=method)
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        return router.add(estimator=self._template(), method_mapping=mapping)

    @all_or_nothing
    @with_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        **fit_params: Any,
    ) -> "Self":
        """Learn to reconstruct.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_measurements)
            Measurements; NaN is a missing one, with an estimator that takes them.
        y : array-like of shape (n_samples, n_features) or (n_samples,)
            Signals.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each pair counts; handed to the estimator.
        X_val, y_val : array-likes, default=None
            Measurements and signals for early stopping; the estimator gets them as its ``y_val``
            and ``X_val``. A pipeline transforms these signals only with
            ``transform_input=["X_val"]``.
        **fit_params : dict
            Further metadata for the estimator's ``fit``, such as ``sample_weight_val`` and
            ``groups``.

        Returns
        -------
        self : Reconstructor
            The fitted regressor.
        """
        estimator = self._to_be_fitted()
        signals, Y, ndim = self._checked_pairs(X, y, reset=True)
        if sample_weight is not None:
            fit_params["sample_weight"] = sample_weight
        fit_params |= self._validation(X_val, y_val)
        routed = self._routed("fit", fit_params)
        task = FitTask(self, 1, X=X, y=y)
        with task.propagate(estimator):
            estimator.fit(signals, Y, **routed)
        self.estimator_, self._signal_ndim = estimator, ndim
        task.end()
        return self

    @available_if(_estimator_has("partial_fit"))
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **fit_params: Any
    ) -> "Self":
        """Go on with one pass over new pairs, ``estimator_.partial_fit``.

        It is there where the estimator has it: pipelines and searches do not.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_measurements)
            Measurements.
        y : array-like of shape (n_samples, n_features) or (n_samples,)
            Signals.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each pair counts; handed to the estimator.
        **fit_params : dict
            Further metadata for the estimator's ``partial_fit``.

        Returns
        -------
        self : Reconstructor
            The regressor.
        """
        first = not hasattr(self, "estimator_")
        signals, Y, ndim = self._checked_pairs(X, y, reset=first)
        if sample_weight is not None:
            fit_params["sample_weight"] = sample_weight
        estimator = self._seeded(clone(self._template())) if first else self.estimator_
        estimator.partial_fit(signals, Y, **self._routed("partial_fit", fit_params))
        self.estimator_, self._signal_ndim = estimator, ndim
        return self

    @chunkwise
    def predict(self, X: ArrayLike, **predict_params: Any) -> Array:
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
        return self._shaped(self._wrapped.predict(Y, **self._routed("predict", predict_params)))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
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

    @available_if(inner_has("adapt"))
    def adapt(self, *, operator: Any = None, **options: Any) -> "Self":
        """The same prior for other measurements, ``adapt`` of the estimator; nothing is trained.

        Parameters
        ----------
        operator : linear operator of shape (n_measurements, n_features), default=None
            The operator for signals in your units, perhaps nonlinear, also where the steps of a
            pipeline scale the signals: these steps have to be linear then.
        **options : dict
            As for the estimator: ``noise_level``, ``noise_covariance`` and, without steps,
            ``image_shape``.

        Returns
        -------
        regressor : Reconstructor
            A fitted copy, for predictions.
        """
        check_is_fitted(self)
        other = copy.copy(self)
        other.estimator_ = self._wrapped.adapt(operator=operator, **options)
        other.n_features_in_ = inner_estimator(other.estimator_).n_measurements_in_
        if operator is not None:
            other.__dict__.pop("feature_names_in_", None)
        return other

    @available_if(inner_has("transform"))
    @chunkwise
    def forward(self, X: ArrayLike) -> Array:
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
        with own_modes():
            return self.estimator_.transform(X)

    def __setstate__(self, state):
        # formats before the second one had the version in the estimator alone, which is checked
        known = isinstance(state, dict) and "_skinvbayes_version" not in state
        super().__setstate__({"_skinvbayes_version": "0.2"} | state if known else state)

    @own_modes()
    def _check_measurements(self, X):
        check_is_fitted(self)
        refuse_complex_data(X, "X")
        Y = validate_data(self, X, reset=False, **_CHECKED)
        self._refuse_missing(Y, self._reads_missing)
        return Y

    @own_modes()
    def _checked_pairs(self, X, y, *, reset):
        """Signals for the estimator, measurements, and the number of dimensions of the signals."""
        refuse_complex_data(X, "X"), refuse_complex_data(y, "y")
        least = {"ensure_min_samples": 2 if reset else 1}
        Y, signals = validate_data(
            self, X, y, reset=reset, multi_output=True, y_numeric=True, **least, **_CHECKED
        )
        self._refuse_missing(Y, self._trains_missing)
        return _as_rows(y, signals), Y, signals.ndim

    def _to_be_fitted(self):
        """A clone of the estimator, or the last fit of it to go on from."""
        template = self._template()
        Wrapped(template)  # refuses what could not be inverted later
        estimator = self._seeded(clone(template))
        warm = getattr(inner_estimator(template), "warm_start", False)
        if not warm or not hasattr(self, "estimator_"):
            return estimator
        if not isinstance(template, BaseINN):
            raise ValueError(
                f"warm_start=True does not go on through {type(template).__name__}, which fits its "
                "steps anew: set warm_start=False, or wrap the estimator itself."
            )
        if type(self.estimator_) is not type(template):
            return estimator
        return copy.copy(self.estimator_).set_params(**estimator.get_params(deep=False))

    @property
    def _current(self):
        """The estimator: fitted, if there is a fit."""
        return getattr(self, "estimator_", self._template())

    @property
    def _wrapped(self):
        check_is_fitted(self)
        return Wrapped(self.estimator_)

    @property
    def _trains_missing(self):
        """Whether ``fit`` takes NaN for a missing measurement."""
        return _has_operator(inner_estimator(self._template()))

    @property
    def _reads_missing(self):
        """Whether ``predict`` does so too; scikit-learn has one tag for both."""
        inner = inner_estimator(self._current)
        return _has_operator(inner) and inner._reads_missing

    def _refuse_missing(self, Y, allowed):
        missing = np.isnan(Y)
        if missing.any() and not allowed:
            raise ValueError(
                f"Input X contains NaN: {missing.sum()} measurements are missing. Only "
                "Reconstructor(DivergenceRegularizedINN(operator=A)), with an operator that is "
                "given, reads rows with missing measurements; take it, or impute them."
            )

    def _validation(self, X_val, y_val):
        """The pairs of early stopping as the estimator takes them."""
        if X_val is None and y_val is None:
            return {}
        if X_val is None or y_val is None:
            raise ValueError("Only one of X_val and y_val is given: give both.")
        Y = validate_data(self, X_val, reset=False, **_CHECKED)
        return {"X_val": _as_rows(y_val, np.asarray(y_val)), "y_val": Y}

    def _shaped(self, found):
        """Signals, or a tuple of arrays like them, with as many dimensions as in the fit."""
        if isinstance(found, tuple):
            return tuple(map(self._shaped, found))
        return found.ravel() if self._signal_ndim == 1 else found

    def _template(self):
        return DivergenceRegularizedINN() if self.estimator is None else self.estimator

    def _routed(self, method, params):
        """The metadata for a method of the estimator."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, method, **params)["estimator"][method]
        return params

    def _seeded(self, estimator):
        """The estimator, with random states from that of this regressor."""
        if self.random_state is None:
            return estimator
        rng = check_random_state(self.random_state)
        for name in sorted(estimator.get_params()):
            if name == "random_state" or name.endswith("__random_state"):
                estimator.set_params(**{name: rng.randint(2**31 - 1)})
        return estimator


def _has_operator(estimator):
    """Whether this is an estimator of this package to which the operator was given."""
    return isinstance(estimator, BaseINN) and is_given(estimator.operator)


def _as_rows(given, array):
    """Signals as rows; a data frame as it is, since its names are for the estimator."""
    return given if hasattr(given, "columns") else array.reshape(len(array), -1)
