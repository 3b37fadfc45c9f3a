"""The estimators' methods that say how sure a reconstruction is."""

from collections.abc import Callable
from typing import Literal, overload

from numpy.typing import ArrayLike

from ..inference.posterior import Posterior
from ..numerics.checks import check_flag
from ..numerics.modes import OwnModes
from ..numerics.progress import reporting
from ..numerics.types import Array, RandomState
from .lazy import chunkwise

__all__ = ["PosteriorMethods"]


class PosteriorMethods(OwnModes):
    """Methods that ask the posterior; see :class:`skinvbayes.inference.posterior.Posterior`.

    The class that inherits them defines ``_posterior(Y, noise_level)``, which gives a Posterior.
    """

    _posterior: Callable[..., Posterior]

    @chunkwise
    def posterior_covariance(self, Y: ArrayLike, *, noise_level: float | None = None) -> Array:
        """Covariance of the reconstruction's error given the measurement.

        It is ``δ² (Aᵀ Dφ(x̂))⁻¹`` in the original problem, with the estimated operator A, and
        ``δ² Dφ(x̂)⁻¹`` in the normal equation. What the smoothing of the prior adds is subtracted
        (:mod:`skinvbayes.inference.error_model`).

        What it stands for depends on the loss. For the reconstruction loss and many pairs it is
        the posterior covariance; for the divergence loss, Laplace's approximation at the MAP
        estimate; for the log-determinant loss an approximation, a coarse one in the normal
        equation; for the approximation loss, the propagated noise alone.

        Parameters
        ----------
        Y : array-like or dask array of shape (n_samples, n_measurements) or (n_samples,)
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
            If epsilon is not δ², and what the result then means; if standard deviations exceed
            those of the signals, with the rows; or if some matrices were not positive definite (not
            with one block of the gradient branch and the normal equation).
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
        with reporting(self):
            return self._posterior(Y, noise_level).covariance()

    @overload
    def posterior_std(
        self,
        Y: ArrayLike,
        *,
        method: str = "auto",
        n_probes: int | Literal["auto"] = "auto",
        random_state: RandomState = None,
        return_error: Literal[False] = False,
        noise_level: float | None = None,
    ) -> Array: ...
    @overload
    def posterior_std(
        self,
        Y: ArrayLike,
        *,
        method: str = "auto",
        n_probes: int | Literal["auto"] = "auto",
        random_state: RandomState = None,
        return_error: Literal[True],
        noise_level: float | None = None,
    ) -> tuple[Array, Array]: ...
    @chunkwise
    def posterior_std(
        self,
        Y: ArrayLike,
        *,
        method: str = "auto",
        n_probes: int | Literal["auto"] = "auto",
        random_state: RandomState = None,
        return_error: bool = False,
        noise_level: float | None = None,
    ) -> Array | tuple[Array, Array]:
        """Standard deviation of the reconstruction's error, coordinate by coordinate.

        The root of the diagonal of :meth:`posterior_covariance`. With "probing", the diagonal is
        the mean of products ``v ∘ (Cov v)`` over random signs v. Each product solves one or two
        equations by conjugate gradients, and no matrix is formed. With ``residual="conv"`` the
        signs are shared out between probes that are zero but at every k-th pixel, for the errors of
        distant pixels are hardly correlated.

        Parameters
        ----------
        Y : array-like or dask array of shape (n_samples, n_measurements) or (n_samples,)
            Measurements.
        method : {"auto", "dense", "probing"}, default="auto"
            "dense" forms the matrices, "probing" does not; "auto" probes beyond 1,000 features.
        n_probes : int or "auto", default="auto"
            Number of probes, at least 2; the error falls with the root of it, and of images faster.
            "auto" is 64, with ``residual="conv"`` 18: errors of about 5 % where those of distant
            pixels are hardly correlated.
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
        Applied Numerical Mathematics; J. M. Tang and Y. Saad (2012), "A probing method for
        computing the diagonal of a matrix inverse", Numerical Linear Algebra with Applications.
        """
        seed = 0 if random_state is None else random_state
        with reporting(self):
            std, error = self._posterior(Y, noise_level).std(method, n_probes, seed)
        return (std, error) if check_flag(return_error, "return_error") else std

    @chunkwise
    def posterior_interval(
        self, Y: ArrayLike, coverage: float = 0.9, *, noise_level: float | None = None
    ) -> tuple[Array, Array]:
        """Intervals that hold each coordinate of the signal with a given probability.

        The reconstruction plus and minus a multiple of :meth:`posterior_std`. Where ``fit`` tried a
        short training or returned the linear estimator, it is a quantile of errors of held-out
        signals, which may be far from Gaussian; of a loss that learns the prior the middle of that
        and of its own errors of these signals. For ``residual="conv"`` it is the quantile of errors
        of signals of the training, which depends on the standard deviation. Otherwise, and after
        ``adapt`` or for another noise level, it is a Gaussian one.

        Parameters
        ----------
        Y : array-like or dask array of shape (n_samples, n_measurements) or (n_samples,)
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
        with reporting(self):
            return self._posterior(Y, noise_level).interval(coverage)

    def sample_posterior(
        self,
        Y: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        method: str = "auto",
        noise_level: float | None = None,
    ) -> Array:
        """Draw signals that could have led to the measurements, in the Gaussian approximation.

        Parameters
        ----------
        Y : array-like of shape (n_samples_Y, n_measurements) or (n_samples_Y,)
            Measurements.
        n_samples : int, default=1
            Number of signals for each measurement.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.
        method : {"auto", "dense", "probing"}, default="auto"
            "dense" forms the matrices of :meth:`posterior_covariance`; "probing" needs products
            only (Lanczos' method for their roots); "auto" does so beyond 1,000 features.
        noise_level : float, default=None
            As in :meth:`posterior_covariance`.

        Returns
        -------
        samples : ndarray of shape (n_samples_Y, n_samples, n_features)
            Signals.
        """
        with reporting(self):
            return self._posterior(Y, noise_level).sample(n_samples, random_state, method)
