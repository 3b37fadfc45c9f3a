"""The base of the estimators whose loss has a penalty."""

import numbers
from typing import Any

import torch
from numpy.typing import ArrayLike

from ..networks.block import ResidualBlock
from ..numerics.sklearn_compat import Interval, StrOptions
from ..numerics.types import Auto, RandomState
from .base import BaseINN

__all__ = ["BaseRegularizedINN"]

_TEMPERED = 0.1  # relative difference of ε from δ² up to which no warning is raised


class BaseRegularizedINN(BaseINN):
    """Base of the estimators whose loss has a penalty of weight ``epsilon``.

    Parameters
    ----------
    epsilon : "auto" or float, default="auto"
        Weight of the penalty, in the units of y squared; "auto" is the variance of the noise. The
        other parameters are those of :class:`BaseINN`.

    Examples
    --------
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.estimators import BaseRegularizedINN
    >>> from skinvbayes.losses import DivergenceLoss
    >>> class FirmlyHeldINN(BaseRegularizedINN):
    ...     class loss(DivergenceLoss):
    ...         decay = 1000.0
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = FirmlyHeldINN(epsilon=0.1, max_iter=20, random_state=0)
    >>> estimator.fit(problem.X, problem.Y).epsilon_
    0.1
    """

    _parameter_constraints = {
        **BaseINN._parameter_constraints,
        "epsilon": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        epsilon: float | Auto = "auto",
        *,
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
        self.epsilon = epsilon

    def _caveat(self, noise_level):
        ratio = self.epsilon_ / self.noise_level_**2 if self.noise_level_ > 0 else 1.0
        if noise_level is not None or abs(ratio / self._prior_weight - 1) <= _TEMPERED:
            return ""
        return (
            f"epsilon ({self.epsilon_:.3g}) is {ratio:.3g} times the squared noise level: the "
            "uncertainty is that for the prior raised to this power, not for the prior of the "
            'training signals. Set epsilon="auto" or noise_level, or pass noise_level to '
            "predict where the loss is the divergence's."
        )
