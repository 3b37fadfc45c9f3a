"""A nonlinear problem: light on a sensor that saturates."""

from functools import partial

import numpy as np
from sklearn.utils import check_random_state

from .blur import GaussianBlur
from .pairs import check_integer, check_number, draw_signals, forward_of, split_problem
from .profiles import random_profiles

__all__ = ["make_saturating_sensor", "saturating_response"]

_DESCR = (
    "Simulated, and beyond the paper's theory, which treats linear forward maps: random boxes and "
    "bumps of light x, seen as K s(K x) with a blur K of {:g} pixels and the response "
    "s(t) = σ asinh(t / σ), σ = {:g}, with noise."
)


def make_saturating_sensor(
    n_train=2000,
    n_test=200,
    *,
    n_pixels=64,
    blur=0.6,
    saturation=0.5,
    noise_level=0.02,
    random_state=0,
):
    """Light on a line of pixels, from what a saturating sensor says: a nonlinear problem.

    Optics blur the light before the pixels respond, crosstalk between neighbours blurs it again as
    they are read: ``y = K s(K x) + noise`` with the Gaussian blur K (periodic, norm one) and the
    response ``s(t) = σ asinh(t / σ)``, linear below the saturation σ and logarithmic above.

    It is beyond the paper's theory of linear maps, but strictly monotone with Lipschitz constant 1.

    Parameters
    ----------
    n_train, n_test : int, default=2000 and 200
        Number of pairs to train and to test.
    n_pixels : int, default=64
        Number of pixels.
    blur : float, default=0.6
        Standard deviation of each blur in pixels; 0 for none.
    saturation : float, default=0.5
        The saturation σ in units of light; signals are between 0 and 4.
    noise_level : float, default=0.02
        Standard deviation δ of the white Gaussian noise.
    random_state : int, RandomState instance or None, default=0
        Source of signals and noise.

    Returns
    -------
    problem : Bunch
        ``X_train`` (n_train, n_pixels), ``Y_train``, ``X_test`` (n_test, n_pixels), ``Y_test``,
        ``operator`` (None: learn from x to y), ``forward`` (the map of rows x to rows y without
        noise), ``noise_level``, ``image_shape`` (n_pixels,) and ``DESCR``.

    Examples
    --------
    >>> from skinvbayes.datasets import make_saturating_sensor
    >>> problem = make_saturating_sensor(10, 5, noise_level=0)
    >>> bool((problem.forward(problem.X_test) == problem.Y_test).all())
    True
    """
    forward = _sensor(n_pixels, blur, saturation)
    rng = check_random_state(random_state)
    sample = partial(random_profiles, shape=(n_pixels,), rng=rng)
    return split_problem(
        *draw_signals(sample, n_train, n_test),
        forward,
        noise_level,
        rng,
        operator=None,
        forward=forward,
        image_shape=(n_pixels,),
        DESCR=_DESCR.format(blur, saturation),
    )


def _sensor(n_pixels, blur, saturation):
    """The map from light to what the sensor says."""
    check_integer("n_pixels", n_pixels, 2)
    check_number("blur", blur)
    check_number("saturation", saturation, positive=True)
    blurring = GaussianBlur((n_pixels,), blur)
    return partial(saturating_response, blurring=blurring, saturation=saturation)


def saturating_response(X, *, blurring, saturation):
    """``K s(K x)`` for every row: (n_samples, n_pixels) → (n_samples, n_pixels)."""
    # the gradient of Σ S(K x), S' = s: its Jacobian K s'(K x) K is positive definite, for s' > 0
    blur = forward_of(blurring)
    return blur(saturation * np.arcsinh(blur(X) / saturation))
