"""A nonlinear problem: light on a sensor that saturates."""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import RandomState
from ..operators import NonlinearOperator
from .blur import GaussianBlur
from .pairs import (
    check_integer,
    check_number,
    draw_signals,
    forward_of,
    make_problem,
    train_and_test,
)
from .profiles import random_profiles

__all__ = ["make_saturating_sensor", "saturating_response", "saturating_slope"]

_DESCRIPTION = (
    "Simulated, and beyond the paper's theory, which treats linear forward maps: random boxes and "
    "bumps of light x, seen as K s(K x) with a blur K of {blur:g} pixels and the response "
    "s(t) = σ asinh(t / σ), σ = {saturation:g}, with noise."
)


def make_saturating_sensor(
    n_train: int = 2000,
    n_test: int = 200,
    *,
    n_pixels: int = 64,
    blur: float = 0.6,
    saturation: float = 0.5,
    noise_level: ArrayLike = 0.02,
    noise_covariance: ArrayLike | None = None,
    random_state: RandomState = 0,
) -> Bunch:
    """Light on a line of pixels, measured by a saturating sensor: a nonlinear problem.

    Optics blur the light, pixels respond, and crosstalk blurs their response: ``y = K s(K x) +
    noise`` with the Gaussian blur K (periodic, norm one) and ``s(t) = σ asinh(t / σ)``, linear
    below the saturation σ and logarithmic above. The paper's theory is for linear maps. This one is
    strictly monotone with Lipschitz constant one, so that estimators can learn it;
    DivergenceRegularizedINN takes it, as ``operator=problem.forward``.

    Parameters
    ----------
    n_train, n_test : int, default=2000 and 200
        Number of pairs to train and to test.
    n_pixels : int, default=64
        Number of pixels.
    blur, saturation : float, default=0.6 and 0.5
        Standard deviation of each blur in pixels; σ in units of light, which is between 0 and 4.
    noise_level : float or array-like of shape (n_measurements,), default=0.02
        Standard deviation δ of the noise, one for all measurements or one for each.
    noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
        Covariance of the noise, in place of ``noise_level``.
    random_state : int, RandomState instance or None, default=0
        Source of signals and noise.

    Returns
    -------
    problem : Bunch
        ``X_train`` (n_train, n_pixels), ``Y_train``, ``X_test`` (n_test, n_pixels), ``Y_test``,
        ``operator`` (None), ``forward`` (a :class:`skinvbayes.operators.NonlinearOperator`, the map
        of rows without noise), ``noise_level``, ``image_shape`` (n_pixels,) and ``DESCR``.

    Examples
    --------
    >>> from skinvbayes.datasets import make_saturating_sensor
    >>> problem = make_saturating_sensor(10, 5, noise_level=0)
    >>> bool((problem.forward(problem.X_test) == problem.Y_test).all())
    True
    """
    check_integer("n_pixels", n_pixels, 2)
    forward = _sensor(n_pixels, blur, saturation)
    rng = check_random_state(random_state)
    sample = partial(random_profiles, shape=(n_pixels,), rng=rng)
    return make_problem(
        train_and_test(draw_signals(sample, n_train, n_test), forward),
        *(noise_level, rng, noise_covariance),
        operator=None,
        forward=forward,
        image_shape=(n_pixels,),
        DESCR=_DESCRIPTION.format(blur=blur, saturation=saturation),
    )


def _sensor(n_pixels, blur, saturation):
    """The forward map with these parameters, checked."""
    check_number("blur", blur)
    check_number("saturation", saturation, positive=True)
    blurring = GaussianBlur((n_pixels,), blur)
    known = {"blurring": blurring, "saturation": saturation}
    response, slope = partial(saturating_response, **known), partial(saturating_slope, **known)
    return NonlinearOperator(response, slope, n_measurements=n_pixels)


def saturating_response(X, *, blurring, saturation):
    """``K s(K x)`` for every row: (n_samples, n_pixels) → (n_samples, n_pixels)."""
    # Strictly monotone: its Jacobian K s'(K x) K is positive definite, since s' > 0.
    blur = forward_of(blurring)
    return blur(saturation * np.arcsinh(blur(X) / saturation))


def saturating_slope(X, *, blurring, saturation):
    """The Jacobians ``K diag(s'(K x)) K``, of shape (n_samples, n_pixels, n_pixels)."""
    blur = forward_of(blurring)
    K = blur(np.eye(X.shape[1]))
    return K.T @ (K / np.hypot(1, blur(X) / saturation)[:, :, None])
