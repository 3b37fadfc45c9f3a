"""Random signals that are neither smooth nor Gaussian."""

import numpy as np

__all__ = ["random_profiles"]

_N_PIECES = 4


def random_profiles(n_samples, shape, rng):
    """Sums of four pieces of random place, width and height, each a box or a Gaussian bump.

    Parameters
    ----------
    n_samples : int
        Number of profiles.
    shape : tuple of int
        Cells along each axis of the unit interval, square, …
    rng : RandomState instance
        Source of the pieces.

    Returns
    -------
    X : ndarray of shape (n_samples, prod(shape))
        Flattened profiles, of values between 0 and 4.
    """
    size = (n_samples, _N_PIECES, 1)
    is_box = rng.uniform(size=size) < 0.5
    pieces = rng.uniform(0.2, 1, size)  # their heights
    for n_cells in shape:
        cells = (np.arange(n_cells) + 0.5) / n_cells
        distance = np.abs(cells - rng.uniform(size=size)) / rng.uniform(0.05, 0.2, size)
        along = np.where(is_box, distance < 1, np.exp(-2 * distance**2))
        pieces = (pieces[..., None] * along[:, :, None]).reshape(n_samples, _N_PIECES, -1)
    return pieces.sum(axis=1)
