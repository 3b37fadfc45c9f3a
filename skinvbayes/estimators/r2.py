"""The estimators' score, the variance-weighted R², also of dask arrays."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from .lazy import is_lazy, whole_rows

__all__ = ["variance_weighted_r2"]


def variance_weighted_r2(true, found, sample_weight=None):
    """Variance-weighted R²; with a dask array among the arguments, in one pass over its chunks.

    Parameters
    ----------
    true, found : array-like or dask array of shape (n_samples, n_features) or (n_samples,)
        Signals and their reconstructions.
    sample_weight : array-like or dask array of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    score : float
        The value of :func:`sklearn.metrics.r2_score`, to rounding.
    """
    arrays = [true, found] if sample_weight is None else [true, found, sample_weight]
    if not any(map(is_lazy, arrays)):
        options = {"sample_weight": sample_weight, "multioutput": "variance_weighted"}
        return r2_score(true, found, **options)
    import dask

    blocks = [rows.to_delayed().ravel() for rows in _in_the_same_chunks(*arrays)]
    sums = dask.compute(*map(dask.delayed(_error_sums), *blocks))
    return _r2([part for part in sums if part.n_rows])


class _ErrorSums(NamedTuple):
    """What a chunk contributes to R²: sums over its rows, those of signals for each feature.

    Signals count from a center in the middle of the chunk: without it, the difference of large sums
    would have lost the digits of a small variance.
    """

    n_rows: int
    weight: float = 0.0
    center: np.ndarray | float = 0.0
    deviation: np.ndarray | float = 0.0
    squared_deviation: np.ndarray | float = 0.0
    squared_error: np.ndarray | float = 0.0


def _error_sums(true, found, sample_weight=None):
    """The sums of one chunk."""
    if not len(true):
        return _ErrorSums(0)
    checked = {"ensure_2d": False, "dtype": np.float64}
    true = check_array(true, input_name="X", **checked).reshape(len(true), -1)
    found = check_array(found, input_name="X_reconstructed", **checked).reshape(len(found), -1)
    weight = np.ones(len(true)) if sample_weight is None else column_or_1d(sample_weight)
    weight = check_array(weight, input_name="sample_weight", **checked)
    check_consistent_length(true, found, weight)
    center = true.mean(axis=0)
    deviation = true - center
    return _ErrorSums(
        len(true),
        weight.sum(),
        center,
        weight @ deviation,
        weight @ deviation**2,
        weight @ (true - found) ** 2,
    )


def _r2(parts):
    """R² from the sums of the chunks that are not empty."""
    n_rows = sum(part.n_rows for part in parts)
    if n_rows < 2:
        return r2_score(np.zeros(n_rows), np.zeros(n_rows))  # its warning, or its error
    weight, center, deviation, squares, errors = (
        np.stack(sums) for sums in list(zip(*parts, strict=True))[1:]
    )
    mean = (weight @ center + deviation.sum(axis=0)) / weight.sum()
    offset = center - mean
    variation = squares + 2 * offset * deviation + weight[:, None] * offset**2
    variation, error = variation.sum(axis=0), errors.sum(axis=0)
    varies = variation != 0
    if not varies.any():
        return float((error == 0).mean())
    return float(1 - error[varies].sum() / variation.sum())


def _in_the_same_chunks(true, found, *weights):
    """The arrays as dask arrays, all with the chunks of the reconstructions if these are lazy."""
    import dask.array as da

    leader = next(filter(is_lazy, (found, true, *weights)))
    arrays = [whole_rows(da.asarray(rows)) for rows in (true, found, *weights)]
    if arrays[0].shape[1:] != arrays[1].shape[1:]:
        raise ValueError(
            f"X has shape {arrays[0].shape}, but the reconstructions have shape "
            f"{arrays[1].shape}: the number of features must be the same."
        )
    if not np.isnan([rows.shape[0] for rows in arrays]).any():
        check_consistent_length(*arrays)
        return [rows.rechunk({0: leader.chunks[0]}) for rows in arrays]
    n_chunks = [rows.numblocks[0] for rows in arrays]
    if len(set(n_chunks)) > 1:
        raise ValueError(
            f"These arrays have {n_chunks} chunks of rows, the sizes of some of which are not "
            "known, so that they cannot be matched: call compute_chunk_sizes() of these arrays."
        )
    return arrays  # their chunks must have the same sizes, which is checked chunk by chunk
