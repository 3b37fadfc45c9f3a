"""An estimator in a pipeline or a search, whose answers are taken to the user's units."""

import copy
import warnings
from functools import cached_property

import numpy as np
from scipy.sparse import diags_array, issparse
from scipy.sparse.linalg import aslinearoperator
from sklearn.pipeline import Pipeline

from ..inference.posterior import interval_factor
from ..numerics import chunks
from ..numerics.progress import reporting, tracked
from ..numerics.threads import single_thread
from ..numerics.warn import warn_caller
from ..operators import as_nonlinear_operator, as_operator
from .signal_steps import SignalSteps

__all__ = ["Wrapped", "inner_estimator"]

_DRAWS = 1000  # signals for each measurement where the inverse of the steps is not linear
_DRAWS_BEYOND = 20  # of them outside of an interval, on average, ...
_MOST_DRAWS = 100_000  # ... up to so many draws


def inner_estimator(estimator):
    """The estimator in a pipeline or a search, fitted where these are."""
    return _unwrapped(estimator)[1]


class Wrapped:
    """An estimator with ``predict(Y)``, perhaps within a pipeline, a search, or both.

    ``Pipeline.predict`` would transform the measurements as if they were signals. Here the last
    step reconstructs, and the inverse f of the other steps takes the result to the user's units. If
    f is linear up to a constant, covariances C become D C Dᵀ with its matrix D. Otherwise standard
    deviations, covariances and intervals are those of f(u), for draws u of the Gaussian posterior;
    draws are the same for all rows and all calls.

    Parameters
    ----------
    estimator : estimator
        The estimator, pipeline or search.

    Attributes
    ----------
    steps : SignalSteps
        The steps before the estimator.
    inner : estimator
        The estimator at the end.

    Raises
    ------
    ValueError
        If a step has no inverse, or if a search does not refit.
    """

    def __init__(self, estimator):
        _check_refits(estimator)
        steps, self.inner = _unwrapped(estimator)
        self.estimator, self.steps = estimator, SignalSteps(steps)

    def predict(self, Y, **options):
        """Reconstructions, with their standard deviations if ``return_std=True``."""
        if not self.steps:
            return self.inner.predict(Y, **options)
        with_std = options.pop("return_std", False)
        if with_std and self._is_diagonal:
            found, std = self.inner.predict(Y, return_std=True, **options)
            return self._inverted(found), self._scaled(std)
        found = self._inverted(self.inner.predict(Y, **options))
        return (found, self.posterior_std(Y, **options)) if with_std else found

    def posterior_std(self, Y, **options):
        """Standard deviations, and their standard errors if ``return_error=True``."""
        if not self.steps or self._is_diagonal:
            found = self.inner.posterior_std(Y, **options)
            if not self.steps:
                return found
            is_pair = isinstance(found, tuple)
            return tuple(map(self._scaled, found)) if is_pair else self._scaled(found)
        refused = sorted(options.keys() - {"noise_level"})
        if refused:
            raise ValueError(
                f"posterior_std takes no {', '.join(refused)} where the steps of a pipeline mix "
                "features or are not linear: it then needs whole covariances. Leave "
                f"{'it' if len(refused) == 1 else 'them'} out."
            )
        if self._linear is not None:
            covariance = self.posterior_covariance(Y, **options)
            return np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        return self._of_draws(lambda draws: np.nanstd(draws, axis=1), Y, _DRAWS, options)

    def posterior_covariance(self, Y, **options):
        """Covariances, of shape (n_samples, n_features, n_features)."""
        if self.steps and self._linear is None:
            return self._of_draws(_covariances, Y, _DRAWS, options)
        covariance = self.inner.posterior_covariance(Y, **options)
        if not self.steps:
            return covariance
        D, dtype = self._linear, covariance.dtype
        if D.ndim == 1:
            return (D[:, None] * covariance * D).astype(dtype)
        return (D @ covariance @ D.T).astype(dtype)

    def posterior_interval(self, Y, coverage=0.9, **options):
        """Lower and upper ends of intervals."""
        if not self.steps:
            return self.inner.posterior_interval(Y, coverage, **options)
        if self._is_diagonal:
            ends = self.inner.posterior_interval(Y, coverage, **options)
            lower, upper = map(self._inverted, ends)  # a negative scale exchanges them
            return np.minimum(lower, upper), np.maximum(lower, upper)
        factor = interval_factor(coverage, self.inner.problem_.error_quantiles)
        if self._linear is not None:
            found, std = self.predict(Y, return_std=True, **options)
            return found - factor * std, found + factor * std
        tail = (1 - coverage) / 2
        n_draws = min(max(_DRAWS, int(_DRAWS_BEYOND / (2 * tail))), _MOST_DRAWS)

        def ends(draws):
            return np.moveaxis(np.nanquantile(draws, [tail, 1 - tail], axis=1), 0, 1)

        found = self._of_draws(ends, Y, n_draws, options)
        return found[:, 0], found[:, 1]

    def sample_posterior(self, Y, n_samples=1, **options):
        """Draws, of shape (n_rows, n_samples, n_features)."""
        draws = self.inner.sample_posterior(Y, n_samples, **options)
        if not self.steps:
            return draws
        draws = self._inverse_of_draws(draws)
        _warn_of_lost(np.isfinite(draws).all(axis=(1, 2)))
        return draws

    def adapt(self, operator=None, **options):
        """The same pipeline or search around the estimator for other measurements.

        Parameters
        ----------
        operator : linear or nonlinear operator, default=None
            The operator for signals in the user's units.
        **options : dict
            As for the ``adapt`` of the estimator.
        """
        if not self.steps:
            return _rewrapped(self.estimator, self.inner.adapt(operator=operator, **options))
        if "image_shape" in options:
            raise ValueError(
                "Images of another size cannot go through the steps of a pipeline, which have "
                "learned to scale each pixel: wrap the estimator without them."
            )
        if operator is None:
            return _rewrapped(self.estimator, self.inner.adapt(**options))
        D = self._linear
        if D is None:
            raise ValueError(
                "The steps of the pipeline are not linear, so that an operator for signals is none "
                "for what they make of them: take steps that only scale, such as StandardScaler."
            )
        constant = self.steps.inverse(self._mean[None])[0] - (
            D * self._mean if D.ndim == 1 else D @ self._mean
        )
        composed, offset = _after(operator, D, constant)
        adapted = self.inner._copy_with({"operator": composed, **options}, constant=offset)
        return _rewrapped(self.estimator, adapted)

    # ------------------------------------------------------------------ the inverse of the steps

    @cached_property
    def _linear(self):
        """The matrix or the diagonal of the inverse, None if it is not linear."""
        if not hasattr(self.inner, "problem_"):
            raise ValueError(
                f"The uncertainty of {type(self.inner).__name__} cannot be taken back through the "
                "steps of a pipeline: wrap an estimator of this package, or leave the steps out."
            )
        return self.steps.linear_part(self._mean, self.inner.problem_.signal_std)

    @property
    def _mean(self):
        return self.inner.problem_.coordinates.signal_mean

    @property
    def _is_diagonal(self):
        return self._linear is not None and self._linear.ndim == 1

    def _scaled(self, std):
        return (np.abs(self._linear) * std).astype(std.dtype)

    def _inverted(self, found):
        """Reconstructions in the user's units."""
        signals = self.steps.inverse(found)
        _warn_of_lost(np.isfinite(signals).all(axis=1))
        return signals

    def _inverse_of_draws(self, draws):
        flat = self.steps.inverse(draws.reshape(-1, draws.shape[2]))
        return flat.reshape(*draws.shape[:2], -1)

    def _of_draws(self, *arguments):
        with reporting(self.inner):
            return self._statistic_of_draws(*arguments)

    def _statistic_of_draws(self, statistic, Y, n_draws, options):
        """A statistic of draws in the user's units, of all rows; each row by itself."""
        mean = self.inner.predict(Y, **options)
        covariance = self.inner.posterior_covariance(Y, **options)
        n, d = mean.shape
        half = np.random.RandomState(0).standard_normal((max(n_draws, 4 * d) // 2, d))
        found, n_lost = [], 0
        with single_thread():
            white = np.linalg.qr(half)[0] * np.sqrt(len(half))
            white = np.concatenate([white, -white])  # of mean 0 and covariance 1, exactly
            parts = chunks.slices(n, chunks.chunk_size(len(white) * d))
            for rows in tracked(parts, "draws"):
                variances, axes = np.linalg.eigh(covariance[rows].astype(np.float64))
                roots = axes * np.sqrt(variances.clip(0))[:, None]
                draws = mean[rows, None] + white @ roots.transpose(0, 2, 1)
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    draws = self._inverse_of_draws(draws)
                    lost = ~np.isfinite(draws).all(axis=2)
                    n_lost += np.count_nonzero(lost.any(axis=1))
                    found.append(statistic(np.where(lost[:, :, None], np.nan, draws)))
        if n_lost:
            warn_caller(
                f"For {n_lost} of {n} rows some draws of the posterior have no inverse under the "
                "steps of the pipeline; they were left out, and the uncertainty is too small there."
            )
        return np.concatenate(found).astype(mean.dtype)


def _warn_of_lost(is_found):
    """Warn of rows whose reconstruction or draws have no inverse under the steps."""
    lost = np.flatnonzero(~is_found)
    if len(lost):
        warn_caller(
            f"For {len(lost)} of {len(is_found)} rows, the first of them row {lost[0]}, there are "
            "signals without an inverse under the steps of the pipeline, which are NaN: the "
            "measurements are far from those of the training."
        )


def _covariances(draws):
    deviations = np.nan_to_num(draws - np.nanmean(draws, axis=1, keepdims=True))
    n_finite = np.isfinite(draws).all(axis=2).sum(axis=1)[:, None, None]
    return deviations.transpose(0, 2, 1) @ deviations / n_finite


class _AfterSteps:
    """A nonlinear operator after the linear map ``x = D u + c``, for transformed signals u."""

    def __init__(self, operator, matrix, constant):
        self.operator, self.matrix, self.constant = operator, matrix, constant

    def forward(self, U):
        """F(x) for every row."""
        return self.operator.forward(self._signals(U))

    def jacobian(self, U):
        """The derivative of F(x) by u, for every row."""
        J = self.operator.jacobian(self._signals(U))
        return J * self.matrix if self.matrix.ndim == 1 else J @ self.matrix

    def _signals(self, U):
        image = U * self.matrix if self.matrix.ndim == 1 else U @ self.matrix.T
        return image + self.constant


def _after(operator, D, constant):
    """The operator for transformed signals, and the constant of the measurements."""
    nonlinear = as_nonlinear_operator(operator)
    if nonlinear is not None:
        return _AfterSteps(nonlinear, D, constant), 0.0
    A = as_operator(operator)
    if A.shape[1] != len(constant):
        raise ValueError(
            f"operator has shape {A.shape}, but signals have {len(constant)} features: an operator "
            f"of shape (n_measurements, {len(constant)}) is needed, for signals in your units."
        )
    offset, base = A.forward(constant[None])[0], A.base
    if isinstance(base, np.ndarray):
        return base * D if D.ndim == 1 else base @ D, offset
    D = diags_array(D) if D.ndim == 1 else D
    if issparse(base):
        return base @ D, offset
    return aslinearoperator(base) @ aslinearoperator(D), offset


# ---------------------------------------------------------------------- pipelines and searches


def _unwrapped(estimator):
    """The steps before an estimator, in their order, and the estimator."""
    if isinstance(estimator, Pipeline):
        steps, inner = _unwrapped(estimator.steps[-1][1])
        return [step for _, step in estimator.steps[:-1]] + steps, inner
    if _is_search(estimator):
        return _unwrapped(getattr(estimator, "best_estimator_", estimator.estimator))
    return [], estimator


def _check_refits(estimator):
    """Raise a ValueError for a search that fits no estimator at its end."""
    if isinstance(estimator, Pipeline):
        _check_refits(estimator.steps[-1][1])
    elif _is_search(estimator) and not estimator.refit:
        raise ValueError(
            f"{type(estimator).__name__}(refit=False) fits no estimator to reconstruct with: set "
            "refit=True."
        )


def _rewrapped(estimator, inner):
    """A copy of a pipeline or search with another fitted estimator at the end."""
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        other = copy.copy(estimator)
        other.steps = [*estimator.steps[:-1], (name, _rewrapped(last, inner))]
        return other
    if _is_search(estimator):
        other = copy.copy(estimator)
        other.best_estimator_ = _rewrapped(estimator.best_estimator_, inner)
        return other
    return inner


def _is_search(estimator):
    """Whether this is a search such as GridSearchCV, of any library."""
    return hasattr(estimator, "refit") and hasattr(estimator, "estimator")
