"""The estimators' methods that say how sure a reconstruction is."""

import numbers
import warnings

import numpy as np
import torch
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ..inference.error_model import ErrorModel
from ..numerics.threads import single_thread

__all__ = ["PosteriorMixin"]

_DENSE_FEATURES = 512  # up to so many, "auto" forms the matrices
_DENSE_ENTRIES = 2**22  # of the matrices that are worked on at once
_PRODUCT_ROWS = 1024  # vectors that are multiplied at once
_BASIS_ENTRIES = 2**18  # of these vectors, where Lanczos' method keeps up to 300 for each
_SOLVED = 1e-3  # relative residual of an equation, beyond which a warning says so
_N_PROBES = 64
_TEMPERED = 0.1  # relative difference of ε from δ², beyond which a warning says so


class PosteriorMixin:
    """Uncertainty of the reconstruction; see :mod:`skinvbayes.inference.error_model` for the formula."""

    def posterior_covariance(self, Y, *, noise_level=None):
        """Covariance of the reconstruction's error given the measurement.

        ``δ² (Aᵀ Dφ(x̂))⁻¹`` in the original problem, with the estimated operator A, and
        ``δ² Dφ(x̂)⁻¹`` in the normal equation; less what the smoothing of the prior has added
        (:mod:`skinvbayes.inference.error_model`). What it is depends on the loss: in the limit of many pairs
        exactly the posterior covariance for the reconstruction loss, Laplace's approximation at
        the MAP estimate for the divergence loss, an approximation for the log-determinant loss
        (for the normal equation a coarse one), and the propagated noise alone for the
        approximation loss.

        Parameters
        ----------
        Y : array-like of shape (n_samples, n_measurements)
            Measurements.
        noise_level : float, default=None
            The noise level of these measurements, where it is not that of the training; only with
            the divergence loss.

        Returns
        -------
        covariance : ndarray of shape (n_samples, n_features, n_features)
            Symmetric positive definite matrices, in squared units of the signals.

        Warns
        -----
        UserWarning
            If epsilon is not δ², and what the result then means; or if some matrices were not
            positive definite (not with one block of the gradient branch and the normal equation).
        ConvergenceWarning
            As in :meth:`predict`.

        Examples
        --------
        >>> from skinvbayes import ReconstructionINN
        >>> from skinvbayes.datasets import make_bimodal
        >>> data = make_bimodal(500, noise_level=0.3, random_state=0)
        >>> estimator = ReconstructionINN(max_iter=40, random_state=0).fit(data.X, data.Y)
        >>> estimator.posterior_covariance([[1.0, 0.5]]).shape
        (1, 2, 2)
        """
        Y = self._check_measurements(Y)
        X, map_, model = self._reconstruct(Y, noise_level, uncertain=True)
        chunks = [S for _, S in _covariances(X, map_, model)]
        return np.concatenate(chunks).astype(Y.dtype)

    def posterior_std(
        self,
        Y,
        *,
        method="auto",
        n_probes=_N_PROBES,
        random_state=None,
        return_error=False,
        noise_level=None,
    ):
        """Standard deviation of the reconstruction's error, coordinate by coordinate.

        The root of the diagonal of :meth:`posterior_covariance`. Without forming matrices, the
        diagonal is estimated from products ``v ∘ (Cov v)`` with random signs v, each of which
        takes the solution of an equation by conjugate gradients; the memory then is that of
        vectors.

        Parameters
        ----------
        Y : array-like of shape (n_samples, n_measurements)
            Measurements.
        method : {"auto", "dense", "probing"}, default="auto"
            "dense" forms the matrices, "probing" does not; "auto" probes beyond 512 features.
        n_probes : int, default=64
            Number of probes, at least 2; the error falls with the root of it.
        random_state : int, RandomState instance or None, default=None
            Source of the probes; None stands for the seed 0, so that results repeat.
        return_error : bool, default=False
            Also return the standard error of the estimate; zero with "dense".
        noise_level : float, default=None
            As in :meth:`posterior_covariance`.

        Returns
        -------
        std : ndarray of shape (n_samples, n_features)
            Standard deviations, in the units of the signals.
        error : ndarray of shape (n_samples, n_features)
            Their standard errors, if ``return_error``.

        References
        ----------
        C. Bekas, E. Kokiopoulou and Y. Saad (2007), "An estimator for the diagonal of a matrix",
        Applied Numerical Mathematics.
        """
        if not isinstance(n_probes, numbers.Integral) or n_probes < 2:
            raise ValueError(f"n_probes must be an integer of at least 2; got {n_probes!r}.")
        Y = self._check_measurements(Y)
        X, map_, model = self._reconstruct(Y, noise_level, uncertain=True)
        seed = 0 if random_state is None else random_state
        std, error = _standard_deviation(X, map_, model, method, n_probes, seed)
        std, error = std.astype(Y.dtype), error.astype(Y.dtype)
        return (std, error) if return_error else std

    def posterior_interval(self, Y, coverage=0.9, *, noise_level=None):
        """Intervals that hold each coordinate of the signal with a given probability.

        The reconstruction plus and minus a Gaussian quantile of :meth:`posterior_std`.

        Parameters
        ----------
        Y : array-like of shape (n_samples, n_measurements)
            Measurements.
        coverage : float, default=0.9
            Probability, between 0 and 1, for each coordinate by itself.
        noise_level : float, default=None
            As in :meth:`posterior_covariance`.

        Returns
        -------
        lower, upper : ndarrays of shape (n_samples, n_features)
            Ends of the intervals, in the units of the signals.
        """
        if not isinstance(coverage, numbers.Real) or not 0 < coverage < 1:
            raise ValueError(f"coverage must be a probability between 0 and 1; got {coverage!r}.")
        X, std = self._predict(self._check_measurements(Y), True, noise_level)
        half = float(norm.ppf((1 + coverage) / 2)) * std
        return X - half, X + half

    def sample_posterior(
        self, Y, n_samples=1, *, random_state=None, method="auto", noise_level=None
    ):
        """Draw signals that could have led to the measurements, in the Gaussian approximation.

        Parameters
        ----------
        Y : array-like of shape (n_samples_Y, n_measurements)
            Measurements.
        n_samples : int, default=1
            Number of signals for each measurement.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.
        method : {"auto", "dense", "probing"}, default="auto"
            "dense" forms the matrices of :meth:`posterior_covariance`; "probing" needs products
            only (Lanczos' method for their roots); "auto" does so beyond 512 features.
        noise_level : float, default=None
            As in :meth:`posterior_covariance`.

        Returns
        -------
        samples : ndarray of shape (n_samples_Y, n_samples, n_features)
            Signals.
        """
        if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer of at least 1; got {n_samples!r}.")
        Y = self._check_measurements(Y)
        X, map_, model = self._reconstruct(Y, noise_level, uncertain=True)
        rng = check_random_state(random_state)
        white = rng.standard_normal((len(X), n_samples, X.shape[1]))
        return (X[:, None] + _errors(white, X, map_, model, method)).astype(Y.dtype)

    def _predict(self, Y, return_std, noise_level):
        """The reconstruction, with its standard deviation if that is asked for."""
        X, map_, model = self._reconstruct(Y, noise_level, uncertain=return_std)
        if not return_std:
            return X
        std, _ = _standard_deviation(X, map_, model, "auto", _N_PROBES, 0)
        return X, std.astype(Y.dtype)

    def _reconstruct(self, Y, noise_level, uncertain):
        """The reconstructions, the map that gave them, and the model of their errors."""
        problem = self._problem
        map_ = self._map_at(noise_level)
        X = self._invert(Y, problem.targets, map_)
        model = ErrorModel(
            factor=problem.forward if problem.operator is None else None,
            information=problem.information,
            noise_level=self.noise_level_ if noise_level is None else float(noise_level),
            # what the first stage has smoothed, less jitter in the last does not undo: with all of
            # it, 90 % intervals of the reconstruction loss cover 91 % on digits, with half 96 %
            bandwidth=problem.bandwidth if self.prior_bandwidth_ > 0 else 0.0,
        )
        if uncertain:
            self._warn_if_tempered(noise_level)
        return X, map_, model

    def _map_at(self, noise_level):
        if noise_level is None:
            return self._map
        raise ValueError(
            "Only DivergenceRegularizedINN reconstructs for another noise level than that of its "
            f"training ({self.noise_level_:.4g}); {type(self).__name__} has to be fitted again."
        )

    def _warn_if_tempered(self, noise_level):
        ratio = self.epsilon_ / self.noise_level_**2 if self.noise_level_ > 0 else 1.0
        if noise_level is None and hasattr(self, "epsilon") and abs(ratio - 1) > _TEMPERED:
            warnings.warn(
                f"epsilon ({self.epsilon_:.3g}) is {ratio:.3g} times the squared noise level: the "
                "uncertainty is that for the prior raised to this power, not for the prior of the "
                'training signals. Set epsilon="auto" or noise_level, or pass noise_level to '
                "predict where the loss is the divergence's.",
                UserWarning,
                stacklevel=5,
            )


def _covariances(X, map_, model):
    """Slices of the rows and the covariances of their errors, in chunks that bound the memory."""
    n, d = X.shape
    step, n_indefinite = max(1, _DENSE_ENTRIES // d**2), 0
    for start in range(0, n, step):
        rows = slice(start, start + step)
        with single_thread():
            S, indefinite = model.covariance(map_.jacobian(X[rows].astype(np.float64)))
        n_indefinite += indefinite.sum()
        yield rows, S
    if n_indefinite:
        warnings.warn(
            f"For {n_indefinite} of {n} rows the symmetric part of the Jacobian is not positive "
            "definite; its eigenvalues were raised, and these uncertainties are not to be trusted. "
            'With an operator, one block of residual="gradient" and the noise level of the '
            "training this does not happen.",
            UserWarning,
            stacklevel=5,
        )


def _standard_deviation(X, map_, model, method, n_probes, random_state):
    """Roots of the covariances' diagonals, and the standard errors of these."""
    if _is_dense(method, X):
        std = np.empty(X.shape)
        for rows, S in _covariances(X, map_, model):
            std[rows] = np.sqrt(np.diagonal(S, axis1=1, axis2=2))
        return std, np.zeros_like(std)
    rng = check_random_state(random_state)
    variance, error, residual = np.empty(X.shape), np.empty(X.shape), 0.0
    step = max(1, _PRODUCT_ROWS // n_probes)
    for start in range(0, len(X), step):
        rows = slice(start, start + step)
        v = 2.0 * rng.randint(2, size=(len(X[rows]), n_probes, X.shape[1])) - 1
        points = np.repeat(X[rows], n_probes, axis=0)
        image, unsolved = _apply(model.product, v.reshape(points.shape), points, map_, model)
        estimates = v * image.reshape(v.shape)
        variance[rows] = estimates.mean(axis=1)
        error[rows] = estimates.std(axis=1, ddof=1) / np.sqrt(n_probes)
        residual = max(residual, unsolved)
    _warn_if_unsolved(residual)
    std = np.sqrt(np.maximum(variance, np.finfo(float).eps * variance.max()))
    return std, error / (2 * std)


def _errors(white, X, map_, model, method):
    """Errors with these covariances, from white ones of shape (n, n_samples, n_features)."""
    errors, residual = np.zeros_like(white), 0.0
    dense = _is_dense(method, X)
    if model.noise_level == 0:
        return errors
    if dense:
        for rows, S in _covariances(X, map_, model):
            errors[rows] = white[rows] @ np.linalg.cholesky(S).transpose(0, 2, 1)
        return errors
    n_samples, d = white.shape[1:]
    white, flat = white.reshape(-1, d), errors.reshape(-1, d)
    step = max(1, _BASIS_ENTRIES // d)
    for start in range(0, len(white), step):
        part = slice(start, start + step)
        points = X[np.arange(len(white))[part] // n_samples]
        flat[part], unsolved = _apply(model.root_product, white[part], points, map_, model)
        residual = max(residual, unsolved)
    _warn_if_unsolved(residual)
    return errors


def _is_dense(method, X):
    if method not in ("auto", "dense", "probing"):
        raise ValueError(f'method must be "auto", "dense" or "probing"; got {method!r}.')
    return method == "dense" or (method == "auto" and X.shape[1] <= _DENSE_FEATURES)


def _apply(function, vectors, points, map_, model):
    """A function of the error model applied to vectors, each at a point; its largest residual."""
    product = map_.precision_product(points.astype(np.float64), model.factor)
    with single_thread(), torch.no_grad():
        v = torch.from_numpy(vectors).to(map_.network.device)
        image, residual = function(product, v)
    return image.cpu().numpy(), float(residual.max())


def _warn_if_unsolved(residual):
    if not residual <= _SOLVED:
        warnings.warn(
            f"Equations with the posterior's precision were solved to a relative residual of "
            f"{residual:.1g} only. Lower lipschitz and fit again, or check these measurements.",
            ConvergenceWarning,
            stacklevel=5,
        )
