"""Vectors of random signs, from whose products the diagonal of a matrix is estimated.

Of images and signals, the signs of a round are shared out between several probes, each nonzero at
every k-th pixel along every side alone. Only pixels of the same probe disturb each other, and the
errors of distant pixels are hardly correlated.

References
----------
C. Bekas, E. Kokiopoulou and Y. Saad (2007), "An estimator for the diagonal of a matrix", Applied
Numerical Mathematics. J. M. Tang and Y. Saad (2012), "A probing method for computing the diagonal
of a matrix inverse", Numerical Linear Algebra with Applications.
"""

import numbers

import numpy as np

__all__ = ["Probes"]

_RANDOM, _ON_A_GRID = 64, 18  # by default; on photos both leave errors of about five per cent
_ROUNDS = 2  # of signs on a grid, whose difference tells the error


class Probes:
    """Probes for rows of so many features.

    Parameters
    ----------
    n_probes : int or "auto"
        Number of probes for each row; on a grid as many of them as give full rounds are used, and
        one for every pixel, which is exact, suffices. "auto" is 64, and on a grid 18.
    n_features : int
        Number of features.
    grid_shape : tuple of int, default=None
        Sides of the images, or the length of the signals; None where features have no places.

    Attributes
    ----------
    number : int
        The probes for each row.
    is_grid : bool
        Whether features have places.

    Raises
    ------
    ValueError
        If ``n_probes`` is something else.
    """

    def __init__(self, n_probes, n_features, grid_shape=None):
        if isinstance(n_probes, str) and n_probes == "auto":
            n_probes = _RANDOM if grid_shape is None else _ON_A_GRID
        if not isinstance(n_probes, numbers.Integral) or n_probes < 2:
            raise ValueError(
                f'n_probes must be "auto" or an integer of at least 2; got {n_probes!r}.'
            )
        self.is_grid = grid_shape is not None
        if not self.is_grid:
            kind = np.zeros(n_features, dtype=int)
        elif n_probes < n_features:
            kind = _every_so_many(n_probes // _ROUNDS, grid_shape)
        else:
            kind = np.arange(n_features)
        self.shares = kind == np.unique(kind)[:, None]
        self.n_rounds = 1 if len(self.shares) == n_features else n_probes // len(self.shares)
        self.number = self.n_rounds * len(self.shares)

    def draw(self, rng):
        """Probes of shape (number, n_features), which serve for all rows."""
        signs = 2.0 * rng.randint(2, size=(self.n_rounds, self.shares.shape[1])) - 1
        return (signs[:, None] * self.shares).reshape(self.number, -1)

    def diagonal(self, probes, products):
        """Estimates from products of a matrix of each row with its probes; their standard errors.

        Parameters
        ----------
        probes : ndarray of shape (number, n_features)
            The vectors v.
        products : ndarray of shape (n_rows, number, n_features)
            C v.

        Returns
        -------
        diagonal, error : ndarrays of shape (n_rows, n_features)
            On a grid the errors are the same share of all estimates of a row.
        """
        n_rows, _, n_features = products.shape
        rounds = (probes * products).reshape(n_rows, self.n_rounds, -1, n_features).sum(axis=2)
        diagonal = rounds.mean(axis=1)
        if self.n_rounds == 1:  # a probe for every feature
            return diagonal, np.zeros_like(diagonal)
        error = rounds.std(axis=1, ddof=1) / np.sqrt(self.n_rounds)
        if self.is_grid:  # two rounds agree here and there by chance
            share = np.linalg.norm(error, axis=1) / np.linalg.norm(diagonal, axis=1)
            error = share[:, None] * np.abs(diagonal)
        return diagonal, error


def _every_so_many(most, grid_shape):
    """Which probe of a round a pixel belongs to, of at most so many."""
    period = max(1, int(most ** (1 / len(grid_shape)) + 1e-9))
    places = np.indices(grid_shape).reshape(len(grid_shape), -1) % period
    return np.ravel_multi_index(tuple(places), (period,) * len(grid_shape))
