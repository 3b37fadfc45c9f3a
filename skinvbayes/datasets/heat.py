"""Backward heat conduction: what was the temperature before?"""

from functools import cached_property, partial, reduce
from math import prod

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import diags_array, identity, kronsum
from scipy.sparse.linalg import LinearOperator, splu
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import RandomState
from .pairs import check_integer, check_number, make_linear_problem
from .profiles import random_profiles

__all__ = ["HeatFlow", "make_backward_heat"]

_LONGEST = 1e6  # time in L²/κ, when the mean temperature has long been everywhere


def make_backward_heat(
    n_train: int = 2000,
    n_test: int = 200,
    *,
    shape: tuple[int, ...] = (64,),
    time: float = 2e-3,
    noise_level: ArrayLike = 0.02,
    noise_covariance: ArrayLike | None = None,
    random_state: RandomState = 0,
) -> Bunch:
    """The temperature of an insulated rod or plate, from its temperature at a later time.

    Parameters
    ----------
    n_train, n_test : int, default=2000 and 200
        Number of pairs to train and to test.
    shape : tuple of one or two int, default=(64,)
        Cells of the rod (n,), or of the plate (n_rows, n_columns).
    time : float, default=2e-3
        Time between signal and measurement in units of L²/κ, with the length L of each side and
        the diffusivity κ. Heat spreads by √(2 time) L: by 4 of 64 cells with the default.
    noise_level : float or array-like of shape (n_measurements,), default=0.02
        Standard deviation δ of the Gaussian noise, one for all measurements or one for each;
        temperatures are between 0 and 4.
    noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
        Covariance of the noise, in place of ``noise_level``.
    random_state : int, RandomState instance or None, default=0
        Source of temperatures and noise.

    Returns
    -------
    problem : Bunch
        ``X_train`` (n_train, n_cells), ``Y_train``, ``X_test`` (n_test, n_cells), ``Y_test``,
        ``operator`` (n_cells, n_cells), a self-adjoint, positive definite LinearOperator of norm
        one that can be pickled, ``noise_level``, ``image_shape`` (= shape) and ``DESCR``.

    Examples
    --------
    >>> from skinvbayes.datasets import make_backward_heat
    >>> problem = make_backward_heat(10, 5, shape=(16, 20))
    >>> problem.X_train.shape, problem.Y_test.shape
    ((10, 320), (5, 320))
    """
    check_number("time", time, positive=True)
    if time > _LONGEST:
        raise ValueError(f"After time={time:g} L²/κ nothing is left but the mean: give less time.")
    rng = check_random_state(random_state)
    operator = HeatFlow(_check_shape(shape), time)
    sample = partial(random_profiles, shape=operator.grid_shape, rng=rng)
    return make_linear_problem(
        *(sample, n_train, n_test, rng),
        operator=operator,
        noise_level=noise_level,
        noise_covariance=noise_covariance,
        image_shape=operator.grid_shape,
        DESCR=(
            "Simulated: random boxes and bumps of temperature, after conduction of heat for "
            f"{time:g} L²/κ in an insulated body of {operator.grid_shape} cells, with noise."
        ),
    )


class HeatFlow(LinearOperator):
    """Conduction of heat: n implicit Euler steps, ``x ↦ (I − t/n Δ)⁻ⁿ x``, on insulated cells.

    It keeps constant temperatures and damps all others: self-adjoint, positive definite, norm one.

    Parameters
    ----------
    grid_shape : tuple of int
        Cells along each axis of the unit interval, square, …
    time : float
        Time t in units of L²/κ.
    n_steps : int, default=10
        Number n of time steps.
    """

    def __init__(self, grid_shape, time: float, n_steps=10):
        self.grid_shape = tuple(grid_shape)
        self.time = time
        self.n_steps = n_steps
        super().__init__(np.float64, (prod(grid_shape),) * 2)

    @cached_property
    def _euler_step(self):
        step = identity(self.shape[0]) - self.time / self.n_steps * laplacian(self.grid_shape)
        return splu(step.tocsc(), permc_spec="MMD_AT_PLUS_A")  # a symmetric ordering

    def _matmat(self, X):
        X = np.asarray(X, dtype=np.float64)
        for _ in range(self.n_steps):
            X = self._euler_step.solve(X)
        return X

    def _adjoint(self):
        return self

    def __reduce__(self):  # the factors cannot be pickled: they are computed again
        return HeatFlow, (self.grid_shape, self.time, self.n_steps)


def laplacian(grid_shape):
    """Second differences on the cells of the unit interval, square, … without flux at the border.

    Parameters
    ----------
    grid_shape : tuple of int
        Cells along each axis.

    Returns
    -------
    laplacian : sparse array of shape (n_cells, n_cells)
        Symmetric, negative semidefinite.
    """
    return reduce(lambda done, axis: kronsum(axis, done), map(_second_difference, grid_shape))


def _second_difference(n_cells):
    gradient = n_cells * diags_array([-1.0, 1.0], offsets=[0, 1], shape=(n_cells - 1, n_cells))
    return -gradient.T @ gradient


def _check_shape(shape):
    if not (isinstance(shape, (tuple, list)) and len(shape) in (1, 2)):
        raise ValueError(f"shape must be a tuple of one or two integers; got {shape!r}.")
    for n_cells in shape:
        check_integer("each entry of shape", n_cells, 2)
    return tuple(shape)
