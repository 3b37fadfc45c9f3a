"""Pairs in dask arrays: their chunks stay on the workers, to which functions are sent."""

import dask
import dask.array as da

from .pair_chunks import PairChunks, added, as_pairs, chunk_rows, width_of

__all__ = ["DaskChunks", "as_dask"]


class DaskChunks(PairChunks):
    """Chunks of pairs in dask arrays.

    With a client of dask.distributed the chunks are kept in the memory of its workers. Without
    one, dask's threads make them again for every sum.

    Parameters
    ----------
    X, Y : dask arrays of shape (n_samples, n_features) and (n_samples, n_measurements)
        Signals and measurements; their sizes are known.
    weight : dask array of shape (n_samples,), default=None
        How often each pair counts; once by default.
    missing_allowed : bool, default=False
        Whether NaN in Y is a missing measurement.
    """

    def __init__(self, X, Y, weight=None, *, missing_allowed=False):
        self.size = chunk_rows(sum(width_of(array) for array in (X, Y)))
        blocks = [_blocks(array, self.size) for array in (X, Y, weight)]
        n_chunks = len(blocks[0])
        blocks = [[None] * n_chunks if part is None else part for part in blocks]
        self.parts = [dask.delayed(as_pairs)(*part) for part in zip(*blocks, strict=True)]
        if _has_client():
            self.parts = dask.persist(*self.parts)
        self._check(missing_allowed)

    def __len__(self):
        return len(self.parts)

    def results(self, function, among, *arguments):
        """The ``function(pairs, index, *arguments)`` of some chunks, a list."""
        call = dask.delayed(function, pure=False)
        return list(dask.compute(*(call(self.parts[i], i, *arguments) for i in among)))

    def shared(self, value):
        """A value that is sent to the workers once."""
        value = dask.delayed(value, traverse=False)
        return dask.persist(value)[0] if _has_client() else value

    def _sum_over(self, groups, function, arguments):
        """The sum over groups of chunks, added up where they lie."""
        call, add = dask.delayed(function, pure=False), dask.delayed(added, pure=False)
        arguments = [dask.delayed(argument) for argument in arguments]
        sums = [add([call(self.parts[i], i, *arguments) for i in group]) for group in groups]
        return add(sums).compute()


def as_dask(array):
    """An array as a dask array; None stays None."""
    return array if array is None or isinstance(array, da.Array) else da.from_array(array)


def _blocks(array, size):
    if array is None:
        return None
    return array.rechunk({0: size, **dict.fromkeys(range(1, array.ndim), -1)}).to_delayed().ravel()


def _has_client():
    """Whether there is a client of dask.distributed that computes."""
    owner = getattr(dask.base.get_scheduler(), "__self__", None)
    return hasattr(owner, "scheduler_info")
