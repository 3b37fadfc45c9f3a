"""The posterior of signals given measurements: a Gaussian around each reconstruction."""

import numbers
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ..inversion.invertible import working_dtype
from ..numerics import chunks
from ..numerics.progress import tracked
from ..numerics.tensors import as_tensor
from ..numerics.threads import single_thread
from ..numerics.warn import warn_caller
from ..problem.error_model import ErrorModel
from ..problem.error_quantiles import ErrorQuantiles
from .probes import Probes
from .trained_map import TrainedMap, named_rows

__all__ = ["Posterior", "interval_factor"]

_WIDER = 1.1  # times the standard deviation of the signals that a posterior's may be in silence
_VARIES = 1e-9  # of the largest standard deviation, above which a feature is not constant
# largest relative residual of an equation that raises no warning
_SOLVED = {torch.float32: 3e-2, torch.float64: 1e-3}


@dataclass
class Posterior:
    """The Gaussian approximation of the posterior, for rows of measurements.

    All results have the dtype of the measurements, all computations are in double precision. What
    a row gets does not depend on the rows beside it.

    Attributes
    ----------
    Y : ndarray of shape (n_samples, n_measurements)
        Measurements.
    map : TrainedMap
        The map φ; its inverse gives the reconstruction.
    error_model : ErrorModel
        The covariance of the reconstruction's error, from the Jacobian of φ.
    targets : callable
        Takes Y to z-space.
    signal_std : ndarray of shape (n_features,), default=inf
        Standard deviations of the prior; rows that exceed them raise a warning.
    is_outside : callable, default=None
        From signals to whether they lie outside those of the training.
    caveat : str, default=""
        A warning that goes with every statement of uncertainty, if not empty.
    information : callable, default=None
        From some of the measurements to the information of each row, where that differs from row to
        row; by default it is that of the error model.
    grid_shape : tuple of int, default=None
        Sides of the images, or the length of the signals, whose errors are correlated with those
        nearby; None where features have no places.
    error_quantiles : ErrorQuantiles or None
        See :class:`skinvbayes.problem.inverse_problem.InverseProblem`.
    """

    Y: np.ndarray
    map: TrainedMap
    error_model: ErrorModel
    targets: Callable[..., Any]
    signal_std: np.ndarray | float = np.inf
    is_outside: Callable[..., Any] | None = None
    caveat: str = ""
    information: Callable[..., Any] | None = None
    grid_shape: tuple[int, ...] | None = None
    error_quantiles: ErrorQuantiles | None = None
    _mean: np.ndarray | None = field(default=None, init=False, repr=False)

    @property
    def mean(self):
        """The reconstructions φ⁻¹(z), of shape (n_samples, n_features)."""
        if self._mean is None:  # functools.cached_property would let only one thread in
            self._mean = self.map.reconstruct(self.Y, self.targets)
        return self._mean

    def covariance(self):
        """Covariances of the errors, of shape (n_samples, n_features, n_features)."""
        self._tell_caveat()
        covariance = np.concatenate([S for _, S in self._covariances()])
        self._warn_if_wider_than_prior(np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)))
        return covariance.astype(self.Y.dtype)

    def std(self, method="auto", n_probes="auto", random_state=0):
        """Standard deviations of the errors, and the standard errors of these.

        Parameters
        ----------
        method : {"auto", "dense", "probing"}, default="auto"
            "dense" forms the covariances, "probing" estimates their diagonals from products.
        n_probes : int or "auto", default="auto"
            Number of probes.
        random_state : int, RandomState instance or None, default=0
            Source of the probes.

        Returns
        -------
        std, error : ndarrays of shape (n_samples, n_features)
            In the units of the signals.
        """
        probes = Probes(n_probes, self.mean.shape[1], self.grid_shape)
        self._tell_caveat()
        if self._is_dense(method):
            diagonals = [np.diagonal(S, axis1=1, axis2=2) for _, S in self._covariances()]
            std = np.sqrt(np.concatenate(diagonals))
            error = np.zeros_like(std)
        else:
            variance, variance_error = self._probed_variances(probes, random_state)
            std = np.sqrt(_positive(variance))
            error = variance_error / (2 * std)
        self._warn_if_wider_than_prior(std)
        return std.astype(self.Y.dtype), error.astype(self.Y.dtype)

    def interval(self, coverage):
        """Ends of the intervals that hold each coordinate with a probability.

        Parameters
        ----------
        coverage : float
            The probability, between 0 and 1.

        Returns
        -------
        lower, upper : ndarrays of shape (n_samples, n_features)
            In the units of the signals.
        """
        std = self.std()[0]
        half = (interval_factor(coverage, self.error_quantiles, std) * std).astype(std.dtype)
        return self.mean - half, self.mean + half

    def sample(self, n_samples=1, random_state=None, method="auto"):
        """Draw signals.

        Parameters
        ----------
        n_samples : int, default=1
            Number of signals for each measurement.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.
        method : {"auto", "dense", "probing"}, default="auto"
            "dense" forms the covariances, "probing" multiplies with their roots.

        Returns
        -------
        samples : ndarray of shape (n_rows, n_samples, n_features)
            In the units of the signals.
        """
        if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer of at least 1; got {n_samples!r}.")
        self._tell_caveat()
        n, d = self.mean.shape
        white = check_random_state(random_state).standard_normal((n, n_samples, d))
        return (self.mean[:, None] + self._errors(white, method)).astype(self.Y.dtype)

    def _of(self, Y):
        """The map and the error model of some of the rows."""
        map_, error_model = self.map.for_rows(Y), self.error_model
        if self.information is not None:
            error_model = replace(error_model, information=self.information(Y))
        return map_, error_model

    def _tell_caveat(self):
        if self.caveat:
            warn_caller(self.caveat, UserWarning)

    def _warn_if_wider_than_prior(self, std):
        """Name the rows whose measurement seems to say less than none would."""
        varies = self.signal_std > _VARIES * np.max(self.signal_std)
        ratios = std / np.where(varies, self.signal_std, np.inf)
        wider = np.flatnonzero((ratios > _WIDER).any(axis=1))
        if not len(wider):
            return
        ratio = ratios[wider].max()
        outside = np.count_nonzero(self.is_outside(self.mean[wider]))
        far = f" {outside} of them lie far outside the training data." if outside else ""
        warn_caller(
            f"For {len(wider)} of {len(std)} rows ({named_rows(wider)}) standard deviations "
            f"exceed those of the signals, by up to {ratio:.2g} times.{far} Between two modes of "
            "the prior, and where there were few pairs, the uncertainty is coarse: use the "
            "reconstruction loss or more pairs, or take the signals' own deviation there."
        )

    def _is_dense(self, method):
        if method not in ("auto", "dense", "probing"):
            raise ValueError(f'method must be "auto", "dense" or "probing"; got {method!r}.')
        few = self.mean.shape[1] <= chunks.MATRIX_FEATURES
        return method == "dense" or (method == "auto" and few)

    def _covariances(self):
        """Slices of the rows and the covariances of their errors, in chunks that bound memory."""
        n, n_indefinite = len(self.mean), 0
        for rows in tracked(chunks.slices(n, self._chunk_size), "covariances"):
            S, indefinite = self._covariance_of(rows)
            n_indefinite += indefinite.sum()
            yield rows, S
        if n_indefinite:
            warn_caller(
                f"For {n_indefinite} of {n} rows the symmetric part of the Jacobian is not "
                "positive definite; its eigenvalues were raised, and these uncertainties are not "
                'to be trusted. With an operator, one block of residual="gradient" and the noise '
                "level of the training this does not happen."
            )

    @property
    def _chunk_size(self):
        return chunks.chunk_size(self.mean.shape[1] ** 2)

    def _covariance_of(self, rows):
        """Covariances of some rows, and whether their precisions were not positive definite."""
        Y = self.Y[rows].astype(np.float64)
        map_, error_model = self._of(Y)
        jacobian = map_.jacobian(self.mean[rows].astype(np.float64), self.targets(Y))
        with single_thread():
            return error_model.covariance(jacobian)

    def _probed_variances(self, probes, random_state):
        """Diagonals of the covariances from products with random signs, and standard errors."""
        X, v = self.mean, probes.draw(check_random_state(random_state))
        variance, error, residual = np.empty(X.shape), np.empty(X.shape), 0.0
        dtype = working_dtype(self.map.network, X.shape[1])  # probes differ by far more
        most = min(chunks.MOST_VECTORS, chunks.MOST_ENTRIES // X.shape[1])
        parts = chunks.slices(len(X), most // probes.number)
        for rows in tracked(parts, "standard deviations"):
            n_rows = len(X[rows])
            repeated = np.repeat(np.arange(len(X))[rows], probes.number)
            image, unsolved = self._apply("product", np.tile(v, (n_rows, 1)), repeated, dtype)
            products = image.reshape(n_rows, probes.number, -1)
            variance[rows], error[rows] = probes.diagonal(v, products)
            residual = max(residual, unsolved)
        _warn_if_unsolved(residual, dtype)
        return variance, error

    def _errors(self, white, method):
        """Errors with these covariances, from white ones of shape (n_rows, n_samples, d)."""
        if self._is_dense(method):
            return self._dense_errors(white)
        return self._probed_errors(white)

    def _dense_errors(self, white):
        errors = np.zeros_like(white)
        if self.error_model.noise_level > 0:
            for rows, S in self._covariances():
                with single_thread():
                    errors[rows] = white[rows] @ np.linalg.cholesky(S).transpose(0, 2, 1)
        return errors

    def _probed_errors(self, white):
        errors, residual = np.zeros_like(white), 0.0
        if self.error_model.noise_level == 0:
            return errors
        n_samples, d = white.shape[1:]
        white, flat = white.reshape(-1, d), errors.reshape(-1, d)
        for part in tracked(chunks.slices(len(white), chunks.BASIS_ENTRIES // d), "samples"):
            repeated = np.arange(len(white))[part] // n_samples
            flat[part], unsolved = self._apply("root_product", white[part], repeated)
            residual = max(residual, unsolved)
        _warn_if_unsolved(residual, torch.float64)
        return errors

    def _apply(self, name, vectors, rows, dtype=torch.float64):
        """A method of the error model applied to vectors at rows; its largest residual."""
        v = as_tensor(vectors).to(dtype)
        if self.map.network.any_precision and self.information is None and len(set(rows)) == 1:
            rows = rows[:1]  # whose slopes serve for all vectors
        points = self.mean[rows].astype(np.float64)
        map_, error_model = self._of(self.Y[rows])
        with single_thread():
            product = map_.precision_product(points, error_model.factor, dtype)
            with torch.no_grad():
                function = getattr(error_model, name)
                image, residual = function(product, v.to(map_.network.device))
        return image.cpu().numpy(), float(residual.max())


def interval_factor(coverage, error_quantiles, std=None):
    """Half the length of intervals, in standard deviations.

    Parameters
    ----------
    coverage : float
        The probability that an interval holds the truth, between 0 and 1.
    error_quantiles : ErrorQuantiles or None
        Quantiles of errors; those of Gaussian errors where it is None.
    std : ndarray, default=None
        The standard deviations that the factor is for; by default it is that of all together.

    Returns
    -------
    factor : float, or ndarray of the shape of ``std``
    """
    if not isinstance(coverage, numbers.Real) or not 0 < coverage < 1:
        raise ValueError(f"coverage must be a probability between 0 and 1; got {coverage!r}.")
    if error_quantiles is None:
        return float(norm.ppf((1 + coverage) / 2))
    return error_quantiles.factor(coverage, std)


def _positive(variance):
    """Estimated variances, the smallest ones raised above zero; those that were not are told."""
    failed = np.flatnonzero(~(variance > 0).all(axis=1))
    if len(failed):
        warn_caller(
            f"For {len(failed)} of {len(variance)} rows some variances were estimated to be zero "
            "or less: there are too few probes, or the symmetric part of the Jacobian is not "
            "positive definite there. These standard deviations are not to be trusted. Take more "
            'n_probes, or method="dense".'
        )
    largest = np.nan_to_num(np.abs(variance)).max(axis=1, keepdims=True)
    return np.maximum(variance, np.finfo(float).eps * largest + np.finfo(float).tiny)


def _warn_if_unsolved(residual, dtype):
    if not residual <= _SOLVED[dtype]:
        warn_caller(
            f"Equations with the posterior's precision were solved to a relative residual of "
            f"{residual:.1g} only. Lower lipschitz and fit again, or check these measurements.",
            ConvergenceWarning,
        )
