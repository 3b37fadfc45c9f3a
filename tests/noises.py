"""Noise of every kind, for the tests of the noise model."""

import numpy as np

from skinvbayes.noise.model import NoiseModel

__all__ = [
    "COVARIANCE",
    "GIVEN",
    "autoregressive",
    "common",
    "estimated",
    "fit_residual",
    "unequal",
    "white",
    "with_outliers",
]

COVARIANCE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])

GIVEN = {
    "white": {"noise_level": 0.3},
    "unequal": {"noise_level": [0.3, 1.0, 2.0]},
    "correlated": {"noise_covariance": COVARIANCE},
}


def estimated(residual, weight=None, n_parameters=1):
    return NoiseModel.estimated(
        residual, np.ones(len(residual)) if weight is None else weight, n_parameters
    )


def white(n, m, rng):
    return rng.standard_normal((n, m))


def unequal(n, m, rng):
    """One level is twice the other ones."""
    return rng.standard_normal((n, m)) * np.where(np.arange(m) == 0, 2, 1)


def autoregressive(n, m, rng, rho=0.5):
    noise = rng.standard_normal((n, m))
    for k in range(1, m):
        noise[:, k] = rho * noise[:, k - 1] + np.sqrt(1 - rho**2) * noise[:, k]
    return noise


def common(n, m, rng):
    """A weak part that all measurements share."""
    return rng.standard_normal((n, m)) + 0.35 * rng.standard_normal((n, 1))


def fit_residual(noise, n_parameters, rng):
    """What the least-squares fit to random signals and a constant leaves of the noise."""
    X = np.column_stack([np.ones(len(noise)), white(len(noise), n_parameters - 1, rng)])
    Q, _ = np.linalg.qr(X)
    return noise - Q @ (Q.T @ noise)


def with_outliers(noise, rng, share=0.01, size=20):
    bad = rng.uniform(size=noise.shape) < share
    return noise + size * bad * rng.choice([-1, 1], noise.shape), bad
