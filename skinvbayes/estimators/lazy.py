"""Methods on dask arrays: chunk by chunk, at the time the result is computed."""

import copy
import sys
import warnings
from functools import wraps
from inspect import signature
from typing import cast

import numpy as np

from ..numerics.modes import own_modes
from ..numerics.types import Method

__all__ = ["chunkwise", "is_lazy", "row_of_zeros", "whole_rows"]


def is_lazy(rows):
    """Whether an argument is a dask collection; dask is not imported to find out."""
    dask = sys.modules.get("dask")
    return dask is not None and dask.is_dask_collection(rows)


def chunkwise(method: Method) -> Method:
    """Let a method of rows also take a dask array; it then returns dask arrays.

    The method runs once for each chunk of rows, when the result is computed. Before that it runs
    with one row of zeros: a wrong number of columns and wrong options raise at once, and shapes and
    dtypes of the results are known. The graph holds the estimator once, as it is now: later
    training does not change the result.

    Parameters
    ----------
    method : callable
        A method ``method(self, rows, *args, **options)`` in which no row depends on another. It
        returns an array, or a tuple of arrays, with one entry for each row.

    Returns
    -------
    method : callable
        The method for arrays in memory and for dask arrays.
    """
    owner, _, name = method.__qualname__.rpartition(".")
    task = (method.__module__, owner, name)  # a decorated method itself cannot be pickled
    rows_name = list(signature(method).parameters)[1]

    @wraps(method)
    def method_of_rows(self, *args, **options):
        rows = args[0] if args else options.get(rows_name)
        if not is_lazy(rows):
            return method(self, *args, **options)
        options = {name: value for name, value in options.items() if name != rows_name}
        return _over_chunks(task, self, whole_rows(rows), args[1:], options)

    return cast(Method, method_of_rows)


def whole_rows(rows):
    """The dask array in chunks of whole rows.

    Raises
    ------
    TypeError
        If it is another of dask's collections.
    ValueError
        If the number of its columns is not known.
    """
    import dask.array as da

    if not isinstance(rows, da.Array):
        raise TypeError(
            f"Of dask's collections only arrays are taken; got {type(rows).__name__}: give a "
            "dask.array.Array, of a data frame to_dask_array(lengths=True)."
        )
    if np.isnan(rows.shape[1:]).any():
        raise ValueError(
            f"The number of columns of this dask array is not known: its shape is {rows.shape}. "
            "Call its method compute_chunk_sizes() first."
        )
    return rows.rechunk(dict.fromkeys(range(1, rows.ndim), -1))


def row_of_zeros(rows):
    """A single row like those of an array, or none if that has none; it stands for checks."""
    n_rows, *shape = np.shape(rows)
    return np.zeros((int(n_rows != 0), *shape), getattr(rows, "dtype", np.float64))


def _over_chunks(task, estimator, rows, args, options):
    """What the method gives for a dask array."""
    import dask
    import dask.array as da

    options = {name: _repeatable(value) for name, value in options.items()}
    call = {"task": task, "arguments": (args, options)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nobody has measured this row
        sample = _call(row_of_zeros(rows), estimator, **call)
    is_tuple = isinstance(sample, tuple)
    sample = sample if is_tuple else (sample,)
    sizes = [
        {f"axis{axis}_of_{i}": size for axis, size in enumerate(result.shape[1:], start=1)}
        for i, result in enumerate(sample)
    ]
    outputs = [f"({','.join(sizes_of_one)})" for sizes_of_one in sizes]
    empty = tuple(result[:0] for result in sample)
    empty = empty if is_tuple else empty[0]
    return da.apply_gufunc(
        _call_with_chunk,
        f"({','.join(f'column{axis}' for axis in range(1, rows.ndim))})->{','.join(outputs)}",
        rows,
        output_sizes={name: size for of_one in sizes for name, size in of_one.items()},
        meta=empty,
        empty=empty,
        estimator=dask.delayed(copy.copy(estimator), pure=True, traverse=False),
        **call,
    )


def _call_with_chunk(rows, estimator, empty, **call):
    """The method's result for a chunk, which a selection of rows may have left empty."""
    return _call(rows, estimator, **call) if len(rows) else empty


def _call(rows, estimator, task, arguments):
    """The result of the method of that class, also where a subclass overrides it."""
    *owner, name = task
    cls = next(c for c in type(estimator).__mro__ if [c.__module__, c.__qualname__] == owner)
    args, options = arguments
    with own_modes():  # of the thread in which the chunk is computed
        found = getattr(cls, name)(estimator, rows, *args, **options)
    # data frames, which transform gives after set_output, have no place in a dask array
    return tuple(map(np.asarray, found)) if isinstance(found, tuple) else np.asarray(found)


def _repeatable(option):
    """An option that means the same in every chunk, in whatever order these are computed."""
    if isinstance(option, np.random.RandomState):
        return option.randint(2**31 - 1)
    return option
