"""Pairs that are too many to be taken as a whole: a sample of them, and their chunks."""

import numbers

import numpy as np
from sklearn.utils import check_consistent_length

from ..numerics.sklearn_compat import safe_indexing
from ..numerics.warn import warn_caller
from ..problem.smoothing import repeats
from ..training.pair_chunks import PairChunks, sample_rows, width_of
from .architecture import training_specification
from .lazy import is_lazy, whole_rows
from .validation import is_given, training_pairs

__all__ = ["sampled_pairs"]

MOST_ENTRIES = 2**22  # numbers in pairs that are taken as a whole
_MANY_SIGNALS = 10  # fewer may be all that there are


def sampled_pairs(estimator, X, y, sample_weight, groups):
    """The pairs to learn from; of many, a sample and all of them in chunks.

    Parameters
    ----------
    estimator : BaseINN
        The estimator; it takes up sizes and names.
    X, y, sample_weight, groups
        As given to ``fit``.

    Returns
    -------
    pairs, groups
        See :func:`~.validation.training_pairs`.
    chunks : PairChunks or None
        All pairs, if those are a sample. There is none where the network does not work in
        natural coordinates.
    """
    if isinstance(sample_weight, numbers.Real) and 0 < sample_weight < np.inf:
        sample_weight = None  # only ratios count
    X, y, sample_weight = _with_sizes(X, y, sample_weight)
    if _are_many(X, y) and groups is None:
        known = X, y, sample_weight, is_given(estimator.operator)
        try:
            pairs, _ = training_pairs(estimator, *_sample(X, y, sample_weight))
        except ValueError:
            _chunks_of(*known)  # names the row among all pairs, where it is one value that is wrong
            raise
        if training_specification(estimator).is_natural:
            return pairs, None, _chunks_of(*known)
    *arrays, groups = _in_memory(X, y, sample_weight, groups)
    pairs, groups = training_pairs(estimator, *arrays, groups=groups)
    if groups is None and y is not None:
        _tell_of_repeats(pairs)
    return pairs, groups, None


def _tell_of_repeats(pairs):
    """Warn of signals that repeat and have no value in common, so that they are a sample."""
    if pairs.X.shape[1] == 1 or not repeats(pairs.X, pairs.weight):
        return
    signals = np.unique(pairs.X, axis=0)
    numbers = {len(np.unique(feature)) for feature in signals.T} - {1}
    if numbers == {len(signals)} and len(signals) >= _MANY_SIGNALS:
        warn_caller(
            f"The {len(pairs.X)} pairs have only {len(signals)} different signals. If other "
            "signals than these are to be reconstructed, give fit the number of the signal of each "
            "pair as groups: otherwise those of the training are taken for new ones, and intervals "
            "are too short."
        )


def _are_many(X, y):
    """Whether pairs are looked at in chunks: arrays of more numbers than fit into a sample."""
    shapes = [getattr(array, "shape", None) for array in (X, y) if array is not None]
    if not shapes or not all(
        shape and len(shape) <= 2 and shape[0] == shapes[0][0] for shape in shapes
    ):
        return False  # what is wrong with these is said where pairs are checked
    return shapes[0][0] * (width_of(X) + width_of(y)) > MOST_ENTRIES


def _sample(X, y, sample_weight):
    """A random sample of the pairs, in memory; names of columns are kept."""
    check_consistent_length(X, y, sample_weight)
    width, counted = width_of(X) + width_of(y), _counted(sample_weight)
    if counted is None:
        rows = sample_rows(X.shape[0], width)
    else:
        rows = counted[sample_rows(len(counted), width)]
    return _in_memory(*(_rows(array, rows) for array in (X, y, sample_weight)))


def _chunks_of(X, y, sample_weight, missing_allowed):
    """All pairs as chunks, of which the values are checked."""
    weight = _relative(sample_weight)
    if not any(is_lazy(array) for array in (X, y, weight)):
        return PairChunks(X, y, weight, missing_allowed)
    from ..training.dask_chunks import DaskChunks, as_dask

    arrays = (as_dask(array) for array in (X, y, weight))
    return DaskChunks(*arrays, missing_allowed=missing_allowed)


def _with_sizes(*arrays):
    """The same arrays; of dask arrays the sizes are worked out where they are not known."""
    return tuple(whole_rows(_sized(array)) if is_lazy(array) else array for array in arrays)


def _in_memory(*arrays):
    """The same arrays, with dask arrays brought to memory in one go."""
    if not any(is_lazy(array) for array in arrays):
        return arrays
    import dask

    return dask.compute(*arrays)


def _counted(weight):
    """The rows that do not have the weight zero; None if that is all of them, or none."""
    if weight is None:
        return None
    counts = np.asarray(weight != 0 if is_lazy(weight) else np.asarray(weight) != 0)
    return None if counts.all() or not counts.any() else np.flatnonzero(counts)


def _relative(weight):
    """Weights relative to the largest one, whose squares are in range."""
    if weight is None:
        return None
    weight = weight if is_lazy(weight) else np.asarray(weight, dtype=np.float64)
    largest = float(weight.max())
    return weight / largest if 0 < largest < np.inf else weight


def _rows(array, rows):
    if array is None:
        return None
    return array[rows] if is_lazy(array) else safe_indexing(array, rows)


def _sized(array):
    is_array = hasattr(array, "compute_chunk_sizes")
    if not is_array or not np.isnan(array.shape).any():
        return array
    array = array.copy()
    array.compute_chunk_sizes()
    return array
