"""Inference on more rows than fit into memory."""

import tracemalloc

import dask.array as da
import numpy as np
import pytest

from helpers import every
from skinvbayes import (
    DivergenceRegularizedINN,
    Reconstructor,
)
from skinvbayes.datasets import make_bimodal
from skinvbayes.numerics import chunks

METHODS = ["predict", "transform", "inverse_transform"]


@pytest.fixture(scope="module", params=["gradient", "mlp"])
def estimator(request, pairs):
    return DivergenceRegularizedINN(residual=request.param, max_iter=3, random_state=0).fit(*pairs)


@pytest.fixture
def mapped(tmp_path):
    """100,000 rows on the disk."""
    rows = np.random.RandomState(0).standard_normal((100_000, 2))
    on_disk = np.memmap(tmp_path / "rows", dtype=rows.dtype, mode="w+", shape=rows.shape)
    on_disk[:] = rows
    on_disk.flush()
    return np.memmap(tmp_path / "rows", dtype=rows.dtype, mode="r", shape=rows.shape)


@pytest.mark.parametrize("method", [*METHODS, "jacobian"])
def test_chunks_make_no_difference(method, estimator, mapped, monkeypatch):
    rows = np.array(mapped[:1000])
    whole = getattr(estimator, method)(rows)
    for size in (1, 7, 999):
        monkeypatch.setattr(chunks, "MOST_ROWS", size)
        part = rows[:20] if size == 1 else rows
        np.testing.assert_allclose(getattr(estimator, method)(part), whole[: len(part)], rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_memmap_in_bounded_memory(method, estimator, mapped):
    """Beside the result, no array of all rows is made."""
    tracemalloc.start()
    found = getattr(estimator, method)(mapped)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < found.nbytes + 1.8e6  # all rows would be 1.6e6 more
    some = slice(50_000, 50_010)
    np.testing.assert_allclose(found[some], getattr(estimator, method)(mapped[some]), rtol=1e-9)


@every
def test_training_from_memmap(cls, mapped, pairs):
    Y = mapped[:200] + 0.1
    options = {"noise_level": 0.1, "max_iter": 2, "random_state": 0}
    estimator = cls(**options).fit(mapped[:200], Y)
    plain = cls(**options).fit(np.array(mapped[:200]), np.array(Y))
    np.testing.assert_array_equal(estimator.predict(Y), plain.predict(Y))


@pytest.mark.parametrize("method", METHODS)
def test_dask_arrays_through_map_blocks(method, estimator, mapped):
    rows = da.from_array(mapped[:10_000], chunks=(3000, -1))
    lazy = rows.map_blocks(getattr(estimator, method), dtype=rows.dtype)
    expected = getattr(estimator, method)(mapped[:10_000])
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9)
    with np.testing.assert_raises(ValueError):
        rows.rechunk((-1, 1)).map_blocks(getattr(estimator, method), dtype=rows.dtype).compute()


def test_dask_arrays_of_another_size(pairs):
    """Three measurements for each signal of two features: the blocks change their shape."""
    X, Y = pairs
    Y = Y @ [[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]]
    regressor = Reconstructor(DivergenceRegularizedINN(max_iter=3, random_state=0)).fit(Y, X)
    measurements = da.from_array(Y, chunks=(100, -1))
    lazy = measurements.map_blocks(regressor.predict, dtype=Y.dtype, chunks=((100,) * 3, (2,)))
    assert lazy.shape == X.shape
    np.testing.assert_allclose(lazy.compute(scheduler="threads"), regressor.predict(Y), rtol=1e-9)


@pytest.mark.parametrize("parameters", [{}, {"residual": "mlp"}, {"n_blocks": 2}])
def test_constants_of_a_trained_network_are_worked_out_once(parameters, monkeypatch):
    """However many calls there are, and chunks in each."""
    data = make_bimodal(50, random_state=0)
    estimator = DivergenceRegularizedINN(max_iter=2, random_state=0, **parameters)
    estimator.fit(data.X, data.Y)
    blocks, calls = estimator.network_.blocks, []
    constants = type(blocks[0]).constants
    monkeypatch.setattr(
        type(blocks[0]), "constants", lambda block: calls.append(block) or constants(block)
    )
    monkeypatch.setattr(chunks, "MOST_ROWS", 20)
    for _ in range(2):
        estimator.transform(data.X)
        estimator.jacobian(data.X)
        estimator.predict(data.Y)
    assert len(calls) <= len(blocks)
