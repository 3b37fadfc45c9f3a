"""The tolerances and limits of the inversion; a block may ask for a larger tolerance."""

from dataclasses import dataclass

import torch

__all__ = ["SETTINGS"]


@dataclass(frozen=True)
class Settings:
    """When the methods of inversion stop.

    Attributes
    ----------
    n_reference : int
        Reference signals over which Jacobians are averaged.
    max_iter, fast_steps, polishing_steps : int
        Most steps for each block: of both methods together, of the fast method with Jacobians, and
        of Newton's method for all blocks together at the end.
    patience : int
        A row leaves the fast method if its residual has not fallen by the factor ``gain`` within
        so many steps.
    gain, gain_before_cheap : float
        That factor where the robust method is expensive, and where it is cheap.
    quasi_newton_memory, quasi_newton_patience : int
        Of the fast method from values alone: the steps that it remembers, and its ``patience``.
    overshoot, newton_overshoot : float
        Its step, and one of Newton's method, is halved if the function that it minimises rises at
        the end as steeply as this share of its fall at the start.
    forcing, matrix_free_forcing : float
        Relative residual of Newton's equations solved by conjugate gradients, and of those solved
        by products alone.
    tolerance, training_tolerance : tuple of two int
        Largest residual that counts as converged, relative to max(‖z‖, 1), in units of rounding:
        in single and in double precision; and the same in training.
    image_tolerance : float
        The ``tolerance`` of maps of images.
    noise_tolerance : float
        The residual relative to the noise, for photos whose operator is well-conditioned, where
        errors of the reconstruction are as small.
    damping : float
        Of images' fastest waves, by the preconditioner: this power of the largest slope.
    approximate_training, matrix_free_training, matrix_free_adjoint : float
        In training of a map with a ``tolerance``: the residual relative to that at the start, with
        Jacobians and by products alone, and the relative residual of the equations for the
        gradient by products.
    adjoint_power : float
        The power of the unit of rounding that is the relative residual of the equations for the
        gradient, otherwise.
    safety_factor : float
        The methods aim at this part of the tolerance: φ(x) has other rounding errors when it is
        evaluated in another way.
    shortest_step, armijo : float
        Of Newton's method with a step-length test: the shortest step, and the part of the promised
        decrease that a step has to achieve.
    floor, rounding, tolerated : float
        In units of rounding, relative to the terms of φ(x): ``floor``, below which no residual is
        asked for; ``rounding``, at which the robust method stops; ``tolerated``, up to which a row
        counts as converged.
    """

    n_reference: int = 32
    max_iter: int = 200
    fast_steps: int = 30
    polishing_steps: int = 5
    patience: int = 4
    gain: float = 0.5
    gain_before_cheap: float = 0.05
    quasi_newton_memory: int = 6
    quasi_newton_patience: int = 20
    overshoot: float = 0.9
    newton_overshoot: float = 0.5
    forcing: float = 0.05
    matrix_free_forcing: float = 0.3
    tolerance: tuple[float, float] = (8, 100)
    training_tolerance: tuple[float, float] = (50, 100)
    image_tolerance: float = 2e-5
    noise_tolerance: float = 3e-3
    damping: float = -0.2
    approximate_training: float = 1e-2
    matrix_free_training: float = 5e-2
    matrix_free_adjoint: float = 0.4
    adjoint_power: float = 0.5
    safety_factor: float = 0.9
    shortest_step: float = 2.0**-20
    armijo: float = 1e-4
    floor: float = 0.25
    rounding: float = 4.0
    tolerated: float = 30.0

    def tolerance_of(self, dtype, *, training=False):
        """The relative tolerance in this precision."""
        single, double = self.training_tolerance if training else self.tolerance
        return (single if dtype == torch.float32 else double) * torch.finfo(dtype).eps


SETTINGS = Settings()
