"""The four estimators, one for each loss."""

import copy
import numbers
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..inference.adapted import AdaptedMap, AdaptedNetwork
from ..inference.missing import MissingMap
from ..losses import (
    ApproximationLoss,
    DivergenceLoss,
    EuclideanLogDetLoss,
    LogDetLoss,
    Loss,
    NaturalLogDetLoss,
    ReconstructionLoss,
)
from ..networks.block import ResidualBlock
from ..networks.iresnet import branch_of
from ..noise.model import NoiseModel
from ..numerics.sklearn_compat import StrOptions
from ..numerics.types import Array, Auto, RandomState
from ..numerics.warn import warn_caller
from .base import BaseINN
from .docstrings import documented
from .lazy import chunkwise
from .nonlinear import NonlinearMeasurements
from .regularized import BaseRegularizedINN

__all__ = [
    "ApproximationINN",
    "DivergenceRegularizedINN",
    "LogDetRegularizedINN",
    "ReconstructionINN",
]


_SMOOTHED = 2  # smoothing of a prior, relative to the noise, beyond which adapt tells
_LOGDET_LOSSES = {
    "auto": LogDetLoss,
    "natural": NaturalLogDetLoss,
    "euclidean": EuclideanLogDetLoss,
}


@documented
class ApproximationINN(BaseINN):
    """Invertible network trained as the forward map: its inverse does not regularise.

    The loss is the mean of ``½‖φ(x) − z‖²``, whose optimum is ``φ(x) = G x``.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import ApproximationINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = ApproximationINN(random_state=0).fit(problem.X, problem.Y)
    >>> float(abs(estimator.transform([[0.5, 0.5]]) - 0.5).max()) < 0.1
    True
    """

    loss = ApproximationLoss


@documented
class ReconstructionINN(BaseINN):
    """Invertible network whose inverse is trained to reconstruct: the posterior mean.

    The loss is the mean of ``½‖φ⁻¹(z) − x‖²``, whose optimum is ``φ⁻¹(z) = E[x | z]``. Training
    starts from the optimum of the divergence loss, which is cheap and close.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import ReconstructionINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = ReconstructionINN(max_iter=40, random_state=0).fit(problem.X, problem.Y)
    >>> estimator.predict(problem.Y).shape
    (200, 2)
    """

    loss = ReconstructionLoss


@documented
class LogDetRegularizedINN(BaseRegularizedINN):
    """Invertible network with a log-determinant penalty: a smoothed posterior mean.

    The loss is the mean of ``½‖φ(x) − z‖² − ε log|det Dφ(x)|`` in a metric M, whose optimum is
    ``φ(x) = G x − ε M⁻¹ ∇log q(φ(x))`` with q the density of φ(X). In the Euclidean metric, the
    paper's, that is Tweedie's formula with q in place of the density of the measurements. In the
    natural metric M = (G + ε C⁻¹)⁻¹, with the covariance C of the signals, it is the posterior mean
    for Gaussian signals and every operator. Training starts from the optimum of the divergence
    loss.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import LogDetRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = LogDetRegularizedINN(max_iter=40, random_state=0).fit(problem.X, problem.Y)
    >>> estimator.score(problem.X, problem.Y) > 0.7
    True
    """

    _parameter_constraints = {
        **BaseRegularizedINN._parameter_constraints,
        "metric": [StrOptions(set(_LOGDET_LOSSES))],
    }

    def __init__(
        self,
        epsilon: float | Auto = "auto",
        *,
        metric: str = "auto",
        operator: Any = None,
        noise_level: ArrayLike | Auto = "auto",
        noise_covariance: ArrayLike | None = None,
        prior_bandwidth: float | Auto = "auto",
        residual: str | type[ResidualBlock] = "gradient",
        n_blocks: int = 1,
        hidden_layer_sizes: int | tuple[int, ...] | Auto = "auto",
        n_pieces: int | Auto = "auto",
        image_shape: tuple[int, ...] | None = None,
        kernel_size: int = 7,
        lipschitz: float = 0.999,
        solver: str = "auto",
        max_iter: int = 200,
        tol: float = 1e-5,
        batch_size: int | Auto = "auto",
        learning_rate_init: float | Auto = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        device: str | torch.device = "cpu",
        random_state: RandomState = None,
        verbose: bool | int = False,
    ):
        super().__init__(
            epsilon,
            operator=operator,
            noise_level=noise_level,
            noise_covariance=noise_covariance,
            prior_bandwidth=prior_bandwidth,
            residual=residual,
            n_blocks=n_blocks,
            hidden_layer_sizes=hidden_layer_sizes,
            n_pieces=n_pieces,
            image_shape=image_shape,
            kernel_size=kernel_size,
            lipschitz=lipschitz,
            solver=solver,
            max_iter=max_iter,
            tol=tol,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.metric = metric

    @property
    def loss(self) -> type[Loss]:  # type: ignore[override]  # it depends on a parameter here
        """The loss of this metric."""
        return _LOGDET_LOSSES[self.metric]


@documented
class DivergenceRegularizedINN(NonlinearMeasurements, BaseRegularizedINN):
    """Invertible network with a divergence penalty: the MAP estimator.

    The loss is the mean of ``½‖φ(x) − z‖² − ε div φ(x)``, whose optimum is
    ``φ(x) = G x − ε ∇log p(x)``: with ε = δ² and z = Aᵀ y, ``φ(x̂) = z`` is the first-order
    condition of the MAP estimate.

    The network holds the prior by itself, so that the operator may also be nonlinear, y = F(x) + n:
    a :class:`skinvbayes.operators.NonlinearOperator`, an object with methods ``forward`` and
    ``jacobian`` of rows, or a function of torch. The score is then learned from the measurements
    that a linear fit of F would have given, and a damped Gauss–Newton method solves
    ``DF(x̂)ᵀ Σ⁻¹ (F(x̂) − y) = ∇log p(x̂)`` for every row. This is beyond the paper's theory: the
    result is the lowest of the stationary points that several starts have led to, and no bound
    certifies it. Uncertainties are Laplace's approximation there. There is no z-space, and
    ``transform`` and ``inverse_transform`` raise a ValueError.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = DivergenceRegularizedINN(random_state=0).fit(problem.X, problem.Y)
    >>> estimator.predict([[0.9, 0.6]]).shape
    (1, 2)
    >>> estimator.score(problem.X, problem.Y) > 0.7
    True
    """

    loss = DivergenceLoss

    _origin = None  # problem and epsilon of the training, of estimators that were adapted
    _reads_missing = _holds_prior = True

    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[False] = False, noise_level: float | None = None
    ) -> Array: ...
    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[True], noise_level: float | None = None
    ) -> tuple[Array, Array]: ...
    @chunkwise
    def predict(
        self, X: ArrayLike, return_std: bool = False, noise_level: float | None = None
    ) -> Array | tuple[Array, Array]:
        """Reconstruct signals from measurements: the MAP estimate, also for another noise level.

        The map for another noise level δ is ``G x + δ²/ε (φ(x) − G x)``; nothing is trained again.
        Where pairs gave the prior of filters a weight w, ``w δ²`` takes the place of δ².

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements) or (n_samples,)
            Measurements Y, with NaN where one is missing. The name X is scikit-learn's for what
            ``predict`` takes.
        return_std : bool, default=False
            Whether to return the standard deviation too; see :meth:`posterior_std`.
        noise_level : float, default=None
            Standard deviation of the noise of these measurements; by default the weight
            ``epsilon_`` of the training holds.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            Reconstructions, in the units of the training signals.
        std : ndarray of shape (n_samples, n_features)
            Standard deviation of the error of each, if ``return_std``.

        Warns
        -----
        ConvergenceWarning
            If the inversion of some rows did not converge; or if, for a noise level above that of
            the training, the map is not monotone there, so that the reconstruction is one of
            several that satisfy the equation. The rows are named.

        Examples
        --------
        >>> from skinvbayes import DivergenceRegularizedINN
        >>> from skinvbayes.datasets import make_bimodal
        >>> data = make_bimodal(2000, noise_level=0.2, random_state=0)
        >>> estimator = DivergenceRegularizedINN(max_iter=60, random_state=0).fit(data.X, data.Y)
        >>> less, more = (estimator.predict([[0.0, 1.5]], noise_level=d) for d in (0.1, 0.25))
        >>> bool(less[0, 1] > more[0, 1])  # more noise draws more to the prior's peak
        True
        """
        return self._predict(X, return_std, noise_level)

    @chunkwise
    def prior_score(self, X: ArrayLike) -> Array:
        """The learned score of the prior, ``∇log p(x) = (E[z|x] − φ(x)) / ε``.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            Score of the prior, smoothed by a Gaussian of ``prior_bandwidth_``, in inverse units of
            the signals.

        Raises
        ------
        ValueError
            If ``epsilon_`` is zero: the network then knows nothing of the prior.

        Examples
        --------
        >>> from skinvbayes import DivergenceRegularizedINN
        >>> from skinvbayes.datasets import make_bimodal
        >>> problem = make_bimodal(2000, noise_level=0.3, random_state=0)
        >>> estimator = DivergenceRegularizedINN(max_iter=60, random_state=0)
        >>> estimator = estimator.fit(problem.X, problem.Y)
        >>> error = estimator.prior_score(problem.X) - problem.prior.score(problem.X)
        >>> float(abs(error).mean()) < 0.3
        True
        """
        term = self.prior_term(X)
        if self.epsilon_ == 0:
            raise ValueError("With epsilon = 0 there is no prior in the network to show.")
        return term / self.epsilon_

    def _measuring(self, operator, noise_level, noise_covariance, constant):
        """A fitted copy for another operator or other noise."""
        measurement = self._checked_measurement(operator, noise_level, noise_covariance)
        if constant is not None:
            offset = np.broadcast_to(constant, measurement.noise.n_measurements)
            measurement = replace(measurement, offset=offset.copy())
        elif operator is not None:
            trained, *_ = self._origin or (self.problem_,)
            measurement = measurement.with_constants_of(trained.measurement)
        return self._measured_by(measurement)

    def _checked_measurement(self, operator, noise_level, noise_covariance):
        """The measurement model of ``adapt``."""
        trained = self.problem_.measurement
        if self.epsilon_ == 0:
            raise ValueError("With epsilon = 0 there is no prior in the network to be weighted.")
        if operator is None and trained.operator is None:
            raise ValueError(
                "This estimator was fitted without an operator: give the operator of the new "
                'measurements, or fit with operator="estimate".'
            )
        measurement = replace(trained, fitted=None)
        if operator is not None:
            measurement = self._measurement_by(operator).with_noise_of(trained)
        if noise_level is not None or noise_covariance is not None:
            n_measurements = measurement.operator.shape[0]
            noise = NoiseModel.given(noise_level, noise_covariance, n_measurements=n_measurements)
            measurement = replace(measurement, noise=noise)
        if measurement.noise.level == 0:
            raise ValueError(f"noise_level must be a positive number; got {noise_level!r}.")
        return measurement

    def _checked_posterior(self, Y, noise_level=None):
        """The posterior for checked rows; what is missing is a row of the operator left out."""
        posterior = self._complete_posterior(Y, noise_level)
        if self._nonlinear is not None or not np.isnan(Y).any():
            return posterior
        if self.problem_.operator is None:
            raise ValueError(
                "Some measurements are missing (NaN), and this estimator was fitted without an "
                'operator: give the operator, or operator="estimate".'
            )
        map_ = MissingMap(*self._adapted(noise_level), self.problem_)
        return replace(posterior, map=map_, targets=map_.targets, information=map_.information)

    def _trained(self):
        if self._origin is not None:
            raise ValueError(
                "This estimator was adapted to other measurements than it was trained with, and "
                "cannot be trained on: go on with the estimator that it came from, or fit a clone."
            )
        return super()._trained()

    def _measured_by(self, measurement):
        """A fitted copy for other measurements."""
        noise, other = measurement.noise, copy.copy(self)
        other.problem_ = self.problem_.adapted(measurement)
        self._tell_what_is_smoothed(other.problem_)
        other.operator_, other.n_measurements_in_ = measurement.given, noise.n_measurements
        tempering = self.epsilon_ / self.noise_level_**2 if self.noise_level_ > 0 else 1.0
        other.noise_level_, other.epsilon_ = noise.level, tempering * noise.level**2
        other.noise_std_, other.noise_covariance_ = noise.std, noise.matrix
        other._origin = self._origin or (self.problem_, self.epsilon_)
        return other

    def _tell_what_is_smoothed(self, problem, share=1.0):
        """Warn of measurements that show more of the signals than the prior that was learned."""
        bandwidth, branch = self.prior_bandwidth_, branch_of(self.network_.config["residual"])
        if bandwidth == 0 or not branch.learns_smoothed_prior:
            return
        noise = share * problem.feature_noise
        if bandwidth > _SMOOTHED * noise:
            warn_caller(
                f"The prior was smoothed by prior_bandwidth_={bandwidth:.3g}, but the noise of "
                f"these measurements is {noise:.3g} in the units of the signals: what they show "
                "beyond that is lost. Fit with this noise, or with a smaller prior_bandwidth."
            )

    def _epsilon_at(self, noise_level):
        """The weight of the penalty for another noise level; None is that of the measurements."""
        return self.epsilon_ if noise_level is None else self._prior_weight * noise_level**2

    def _map(self, noise_level=None):
        """The trained map, adapted to other measurements or another noise level."""
        trained = super()._map()
        if noise_level is None and self._origin is None:
            return trained
        return AdaptedMap(*self._adapted(noise_level))

    def _adapted(self, noise_level):
        """The network for other measurements or another noise level, and what goes with it."""
        given = noise_level is not None
        if given and (not isinstance(noise_level, numbers.Real) or not 0 < noise_level < np.inf):
            raise ValueError(
                f"noise_level must be a positive number; got {noise_level!r}. For a level of every "
                "measurement take adapt(noise_level=…)."
            )
        if self.epsilon_ == 0:
            raise ValueError("With epsilon = 0 there is no prior in the network to be weighted.")
        problem, epsilon = self._origin or (self.problem_, self.epsilon_)
        other = None if self._origin is None else self.problem_.exact_unit_forward
        if given:
            noise_level = NoiseModel.given(noise_level, n_measurements=1).level
            self._tell_what_is_smoothed(self.problem_, noise_level / (self.noise_level_ or 1.0))
        ratio = self._epsilon_at(noise_level) / epsilon
        known = problem.unit_forward_of(self.network_)
        coordinates = self.problem_.coordinates
        network = AdaptedNetwork(self.network_, known, ratio, other)
        return network, coordinates, coordinates.unit_weight(epsilon), problem.clusters
