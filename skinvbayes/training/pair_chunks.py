"""Pairs that are looked at a chunk at a time: in memory, on disk, or on the workers of a cluster.

Of many pairs a random sample tells what the problem is, and training adds up losses and gradients
over all chunks. The chunks do not depend on where the pairs lie, nor on the number of workers, and
sums are taken in a fixed order: so the result is the same everywhere.
"""

from functools import reduce
from typing import NamedTuple

import numpy as np
from sklearn.utils.random import sample_without_replacement

from ..numerics.chunks import slices
from ..numerics.sklearn_compat import safe_indexing
from ..problem.measurement import LARGEST
from .specification import Pairs

__all__ = [
    "PairChunks",
    "Totals",
    "added",
    "as_pairs",
    "chunk_rows",
    "sample_rows",
    "width_of",
]

_SAMPLE_ENTRIES = 2**20  # numbers in a sample of many pairs,
_ROWS_PER_COLUMN = 10  # of which there are at least so many for each column
_CHUNK_ENTRIES = 2**19  # numbers in the pairs of a chunk
_FAN_IN = 16  # chunks whose sums are added at once


class Totals(NamedTuple):
    """Sums over the pairs of all chunks.

    Attributes
    ----------
    n_samples : int
        Number of pairs.
    weight : float
        Sum of their weights.
    squares : float
        Sum of the squares of their weights.
    """

    n_samples: int
    weight: float
    squares: float

    @property
    def n_effective(self):
        """Kish's effective number of pairs: of equally weighted ones that would tell as much."""
        return self.weight**2 / self.squares


class PairChunks:
    """Chunks of pairs in arrays, in memory or on disk; of these no copies are made.

    Parameters
    ----------
    X, Y : arrays of shape (n_samples, n_features) and (n_samples, n_measurements)
        Signals and measurements; data frames will do. Without Y, measurements are drawn.
    weight : ndarray of shape (n_samples,), default=None
        How often each pair counts; once by default.
    missing_allowed : bool, default=False
        Whether NaN in Y is a missing measurement.

    Attributes
    ----------
    totals : Totals
        Sums over the pairs.

    Raises
    ------
    ValueError
        If a value is not finite, a weight is negative, or all weights are zero.
    """

    def __init__(self, X, Y, weight=None, missing_allowed=False):
        self.arrays = X, Y, weight
        self.size = chunk_rows(width_of(X) + width_of(Y))
        self.slices = slices(len(X), self.size)
        self._check(missing_allowed)

    def _check(self, missing_allowed):
        self.totals = Totals(*self.sums(_checked_totals, self.size, missing_allowed))
        if not self.totals.weight > 0:
            raise ValueError("sample_weight is zero for every sample; at least one must count.")

    def __len__(self):
        return len(self.slices)

    def load(self, index):
        """The pairs of a chunk, in double precision."""
        rows = self.slices[index]
        return as_pairs(*(_part(values, rows) for values in self.arrays))

    def shared(self, value):
        """A value that many calls of :meth:`sums` are given as an argument."""
        return value

    def results(self, function, among, *arguments):
        """The ``function(pairs, index, *arguments)`` of some chunks, a list."""
        return [function(self.load(index), index, *arguments) for index in among]

    def sums(self, function, *arguments, among=None):
        """The sums of ``function(pairs, index, *arguments)`` over chunks.

        Parameters
        ----------
        function : callable
            Gives a tuple of numbers or arrays.
        *arguments
            What else it is called with.
        among : sequence of int, default=None
            Indices of the chunks; all of them by default.

        Returns
        -------
        sums : tuple
        """
        among = range(len(self)) if among is None else among
        return self._sum_over(
            [among[part] for part in slices(len(among), _FAN_IN)], function, arguments
        )

    def _sum_over(self, groups, function, arguments):
        """The sum over groups of chunks, each of which is added up first."""
        return added(
            added(function(self.load(i), i, *arguments) for i in group) for group in groups
        )


def as_pairs(X, Y, weight):
    """Arrays of any kind as pairs in double precision."""
    X = np.asarray(X, dtype=np.float64)
    Y = np.empty((len(X), 0)) if Y is None else np.asarray(Y, dtype=np.float64)
    weight = np.ones(len(X)) if weight is None else np.asarray(weight, dtype=np.float64)
    return Pairs(X, Y.reshape(len(Y), -1), weight)


def added(parts):
    """The sums of tuples, from the first one to the last."""
    return reduce(lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)), parts)


def _checked_totals(pairs, index, size, missing_allowed):
    """The totals of a chunk, of which all values are checked."""
    X, Y, weight = pairs
    first = index * size
    _refuse(~np.isfinite(X), "X contains NaN or infinity", first)
    if missing_allowed:
        _refuse(np.isinf(Y), "y contains infinity", first)
        _refuse(np.isnan(Y).all(axis=1) & bool(Y.size), "y contains only NaN", first)
    else:
        _refuse(~np.isfinite(Y), "y contains NaN or infinity", first)
    _refuse(np.abs(X) > LARGEST, f"X contains numbers beyond {LARGEST:g}", first)
    _refuse(np.abs(Y) > LARGEST, f"y contains numbers beyond {LARGEST:g}", first)
    _refuse(~np.isfinite(weight) | (weight < 0), "sample_weight is negative or not finite", first)
    return len(X), float(weight.sum()), float((weight**2).sum())


def _refuse(wrong, what, first_row):
    """Raise a ValueError that names the first of the rows that are wrong."""
    if wrong.any():
        row = first_row + int(np.argwhere(wrong)[0][0])
        raise ValueError(f"Input {what} in row {row}: correct such rows or leave them out.")


def chunk_rows(width):
    """Rows of a chunk, of so many numbers each."""
    return max(1, _CHUNK_ENTRIES // width)


def sample_rows(n_samples, width):
    """The rows of a random sample, always the same one, in ascending order."""
    n = max(_SAMPLE_ENTRIES // width, _ROWS_PER_COLUMN * width)
    return np.sort(sample_without_replacement(n_samples, min(n, n_samples), random_state=0))


def width_of(array):
    """Numbers in a row of an array; none for None."""
    return 0 if array is None else int(np.prod(array.shape[1:]))


def _part(values, rows):
    return None if values is None else safe_indexing(values, rows)
