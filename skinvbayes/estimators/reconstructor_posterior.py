"""What a Reconstructor says of the uncertainty, in the units of the signals."""

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from ..numerics.types import Array
from .lazy import chunkwise
from .wrapped import Wrapped, inner_estimator

__all__ = ["ReconstructorPosterior", "inner_has"]


def inner_has(name: str):
    """A check that the estimator within a Reconstructor, a pipeline or a search has a method."""
    return lambda self: hasattr(inner_estimator(self._current), name)


class ReconstructorPosterior:
    """Methods that ask the posterior of the estimator within.

    The class that inherits them defines ``_current``, the estimator; ``_wrapped``, the same as
    :class:`skinvbayes.estimators.wrapped.Wrapped`; ``_check_measurements(X)``; and
    ``_shaped(found)``.
    """

    _check_measurements: Callable[[ArrayLike], Array]
    _shaped: Callable[[Any], Any]

    @property
    def _wrapped(self) -> Wrapped:
        """The fitted estimator and the steps before it; the class that mixes this in has it."""
        raise NotImplementedError(f"{type(self).__name__} must define _wrapped.")

    @available_if(inner_has("posterior_covariance"))
    @chunkwise
    def posterior_covariance(self, X: ArrayLike, **options: Any) -> Array:
        """Covariance of the error, in squared units of the signals.

        It is ``posterior_covariance`` of the estimator. If the steps of a pipeline before it have a
        linear inverse D (StandardScaler, PCA), it becomes ``D C Dᵀ``, exactly; what such a step has
        left out, as PCA with fewer components does, is not in it. If their inverse is not linear
        (PowerTransformer, QuantileTransformer), this and :meth:`posterior_std` are the covariance
        and the deviation of 1,000 or more draws, taken through the inverse: right to some per cent.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements)
            Measurements.
        **options : dict
            As for the estimator.

        Returns
        -------
        covariance : ndarray of shape (n_samples, n_features, n_features)
            Symmetric positive definite matrices; semidefinite ones where steps lose features.
        """
        return self._wrapped.posterior_covariance(self._check_measurements(X), **options)

    @available_if(inner_has("posterior_std"))
    @chunkwise
    def posterior_std(self, X: ArrayLike, **options: Any) -> Any:
        """Standard deviation of the error, coordinate by coordinate, in the units of the signals.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements)
            Measurements.
        **options : dict
            As for the estimator; of a pipeline whose steps mix features or are not linear only
            ``noise_level``.

        Returns
        -------
        std : ndarray of shape (n_samples, n_features) or (n_samples,)
            Standard deviations.
        error : ndarray of the same shape
            Their standard errors, if ``return_error=True``.
        """
        return self._shaped(self._wrapped.posterior_std(self._check_measurements(X), **options))

    @available_if(inner_has("posterior_interval"))
    @chunkwise
    def posterior_interval(
        self, X: ArrayLike, coverage: float = 0.9, **options: Any
    ) -> tuple[Array, Array]:
        """Intervals that hold each coordinate of the signal with a given probability.

        If the steps of a pipeline are not linear, quantiles of draws are their ends.

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
        lower, upper : ndarrays of shape (n_samples, n_features) or (n_samples,)
            Ends of the intervals, in the units of the signals.
        """
        Y = self._check_measurements(X)
        return self._shaped(self._wrapped.posterior_interval(Y, coverage, **options))

    @available_if(inner_has("sample_posterior"))
    def sample_posterior(self, X: ArrayLike, n_samples: int = 1, **options: Any) -> Array:
        """Signals that could have led to the measurements, in the Gaussian approximation.

        It is ``sample_posterior`` of the estimator, and the inverse of the steps before it.

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
        return self._wrapped.sample_posterior(self._check_measurements(X), n_samples, **options)
