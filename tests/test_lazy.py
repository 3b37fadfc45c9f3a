"""Predictions on dask arrays."""

import sys
import warnings
from functools import partial

import cloudpickle
import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from helpers import every
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.estimators.r2 import variance_weighted_r2
from skinvbayes.inference import trained_map

A = np.array([[1.0, 0.3], [0.0, 0.5], [0.4, 0.2]])
OPTIONS = {"max_iter": 3, "random_state": 0}
OF_SIGNALS = ["transform", "jacobian", "prior_term", "inverse_transform"]
OF_MEASUREMENTS = ["predict", "posterior_std", "posterior_interval", "posterior_covariance"]


pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling")


@pytest.fixture(scope="module", autouse=True)
def threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


@pytest.fixture(scope="module")
def data(pairs):
    """Signals and three measurements of each, and both in chunks that do not fit together."""
    X, Y = pairs[0], pairs[1] @ A.T
    return X, Y, da.from_array(X, chunks=(70, 1)), da.from_array(Y, chunks=(100, 2))


@pytest.fixture(scope="module")
def estimator(data):
    cls = DivergenceRegularizedINN
    return cls(operator=A, noise_level=0.3, **OPTIONS).fit(*data[:2])


@pytest.fixture(scope="module")
def regressor(data):
    return Reconstructor(DivergenceRegularizedINN(operator=A, **OPTIONS)).fit(data[1], data[0])


def assert_lazily_equal(method, rows, lazy, **options):
    """The same results for a dask array as for its rows in memory; returns the lazy ones."""
    expected, found = method(rows, **options), method(lazy, **options)
    assert isinstance(found, tuple) == isinstance(expected, tuple)
    several = isinstance(found, tuple)
    for one, other in zip(
        *(part if several else (part,) for part in (found, expected)), strict=True
    ):
        assert isinstance(one, da.Array)
        assert one.dtype == other.dtype
        assert one.shape[1:] == other.shape[1:]
        assert one.chunks == (lazy.chunks[0], *((size,) for size in other.shape[1:]))
        rtol = 1e-9 if other.dtype == np.float64 else 1e-4
        da.utils.assert_eq(one, other, rtol=rtol, scheduler=None)  # that of the configuration
    return found


@every
@pytest.mark.parametrize("residual", ["gradient", "mlp"])
def test_all_methods_of_rows(cls, residual, data):
    X, Y, lazy_X, lazy_Y = data
    fitted = cls(operator=A, residual=residual, **OPTIONS).fit(X, Y)
    for name in OF_SIGNALS:
        assert_lazily_equal(getattr(fitted, name), X, lazy_X)
    for name in OF_MEASUREMENTS:
        assert_lazily_equal(getattr(fitted, name), Y, lazy_Y)
    assert_lazily_equal(fitted.predict, Y, lazy_Y, return_std=True)
    assert_lazily_equal(fitted.posterior_std, Y, lazy_Y, return_error=True)
    if hasattr(fitted, "prior_score"):
        assert_lazily_equal(fitted.prior_score, X, lazy_X)
        assert_lazily_equal(fitted.predict, Y, lazy_Y, noise_level=0.2)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_dtypes(dtype, estimator, data):
    Y, lazy = (rows.astype(dtype) for rows in data[1::2])
    assert_lazily_equal(estimator.predict, Y, lazy)
    assert_lazily_equal(estimator.transform, Y[:, :2], lazy[:, :2])


def test_arrays_in_memory_need_no_dask(estimator, regressor, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)  # importing it raises an error
    X, Y = data[:2]
    assert isinstance(estimator.predict(Y), np.ndarray)
    assert isinstance(estimator.score(X, Y), float)
    assert isinstance(regressor.score(Y, X), float)


def test_rows_by_keyword(estimator, data):
    found = estimator.posterior_interval(coverage=0.5, Y=data[3])
    assert all(isinstance(part, da.Array) for part in found)
    da.utils.assert_eq(found[1], estimator.posterior_interval(data[1], 0.5)[1])


def test_numbers_of_rows_that_are_not_known(estimator, data):
    X, Y, lazy_X, lazy_Y = data
    some, lazy_some = Y[:, 0] > 1.5, lazy_Y[:, 0] > 1.5
    some[100:200], lazy_some[100:200] = False, False  # leaves a chunk empty
    lazy = estimator.predict(lazy_Y[lazy_some], return_std=True)
    for one, other in zip(lazy, estimator.predict(Y[some], return_std=True), strict=True):
        assert np.isnan(one.shape[0])
        np.testing.assert_allclose(one.compute(), other, rtol=1e-9)
    lazy_X = lazy_X.rechunk((100, 2))[lazy_some]
    found = estimator.score(lazy_X, lazy_Y[lazy_some])
    assert found == pytest.approx(estimator.score(X[some], Y[some]), rel=1e-9)
    with pytest.raises(ValueError, match="cannot be matched"):
        estimator.score(X, lazy_Y[lazy_some])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator.score(lazy_X, lazy_Y[lazy_Y[:, 0] > 1.4])
    with pytest.raises(ValueError, match="number of columns"):
        estimator.predict(lazy_Y[:, lazy_Y[0] > 1.5])


def test_missing_measurements(estimator, data):
    Y = data[1].copy()
    Y[::7, 0] = Y[110:190:3, 1] = np.nan
    assert_lazily_equal(estimator.predict, Y, da.from_array(Y, chunks=(50, 1)))
    regressor = Reconstructor(estimator).fit(*data[1::-1])
    assert_lazily_equal(regressor.predict, Y, da.from_array(Y, chunks=(50, 1)))


def test_nothing_is_computed_before_it_is_asked_for(estimator, data):
    calls = []
    loaded = data[3].map_blocks(
        lambda rows: calls.append(len(rows)) or rows, dtype=float, meta=data[1][:0]
    )
    found = estimator.predict(loaded, return_std=True)
    assert not calls
    found[0][:150].compute()
    assert len(calls) == 4  # of three chunks of rows with two of columns, the first two of rows


def test_what_does_not_fit_raises_at_once(estimator, data):
    X, Y, lazy_X, lazy_Y = data
    with pytest.raises(ValueError, match="y has 2 measurements per sample"):
        estimator.predict(lazy_X)
    with pytest.raises(ValueError, match="X has 3 features"):
        estimator.transform(lazy_Y)
    with pytest.raises(ValueError, match="X has 3 features"):
        estimator.score(lazy_Y, lazy_Y)
    with pytest.raises(ValueError, match="y has 2 measurements per sample"):
        estimator.score(lazy_X, lazy_X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator.score(lazy_X, lazy_Y[:100])
    with pytest.raises(ValueError, match="method must be"):
        estimator.posterior_std(lazy_Y, method="exact")
    with pytest.raises(ValueError, match="0 sample"):
        estimator.predict(lazy_Y[:0])
    with pytest.raises(ValueError, match="requires y"):
        ReconstructionINN(operator=A, **OPTIONS).fit(X, Y).score(lazy_X)


def test_other_collections_are_refused(estimator):
    class DataFrame:
        """As far as dask asks whether it is a collection."""

        __dask_graph__ = dict

        def to_dask_array(self, lengths):
            raise AssertionError("was called")

    with pytest.raises(TypeError, match=r"DataFrame.*to_dask_array\(lengths=True\)"):
        estimator.predict(DataFrame())
    with pytest.raises(TypeError, match="only arrays are taken; got Delayed"):
        estimator.predict(dask.delayed(3))


def test_what_a_chunk_says_comes_with_the_result(data, monkeypatch):
    """Warnings, and errors of values."""
    estimator = ReconstructionINN(operator=A, residual="mlp", **OPTIONS).fit(*data[:2])
    tempered = DivergenceRegularizedINN(epsilon=0.02, operator=A, **OPTIONS).fit(*data[:2])
    invert = trained_map.invert
    monkeypatch.setattr(trained_map, "invert", partial(invert, max_iter=1, tol=1e-15))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lazy, std = estimator.predict(3 * data[3]), tempered.posterior_std(data[3])
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        lazy.compute()
    with pytest.warns(UserWarning, match="times the squared noise level"):
        std.compute()
    lazy = estimator.transform(data[2] / 0)
    with pytest.raises(ValueError, match="infinity"), np.errstate(all="ignore"):
        lazy.compute()


def test_later_training_changes_no_earlier_result(data):
    X, Y, _, lazy_Y = data
    estimator = ReconstructionINN(operator=A, **OPTIONS).fit(X, Y)
    expected, lazy = estimator.predict(Y), estimator.predict(lazy_Y)
    estimator.partial_fit(2 * X, Y)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9)
    assert abs(estimator.predict(Y) - expected).max() > 1e-3


def test_random_states_make_results_that_repeat(estimator, data):
    rng = np.random.RandomState(0)
    options = {"method": "probing", "n_probes": 4, "random_state": rng}
    lazy = estimator.posterior_std(data[3], **options)
    np.testing.assert_array_equal(lazy.compute(), lazy.compute())
    assert (estimator.posterior_std(data[3], **options) != lazy).any().compute()


def test_set_output_leaves_dask_arrays_lazy(data):
    X, Y, lazy_X, _ = data
    estimator = DivergenceRegularizedINN(operator=A, **OPTIONS).fit(X, Y)
    expected = estimator.transform(X)
    estimator.set_output(transform="pandas")
    da.utils.assert_eq(estimator.transform(lazy_X), expected)
    assert list(estimator.transform(X)) == list(estimator.get_feature_names_out())


def test_overridden_methods(data):
    class Doubled(ReconstructionINN):
        def predict(self, X):
            return 2 * super().predict(X)

    estimator = Doubled(operator=A, **OPTIONS).fit(*data[:2])
    assert_lazily_equal(estimator.predict, data[1], data[3])


# ---------------------------------------------------------------------------------------- score


@pytest.fixture(scope="module")
def weight():
    weight = np.random.RandomState(0).rand(300)
    weight[:100], weight[150:160] = 0.0, 50.0
    return weight


def test_score(estimator, regressor, data, weight):
    X, Y, lazy_X, lazy_Y = data
    for given in (None, weight, da.from_array(weight, chunks=37)):
        expected = estimator.score(X, Y, None if given is None else weight)
        for signals, measurements in [(X, lazy_Y), (lazy_X, Y), (lazy_X, lazy_Y)]:
            found = estimator.score(signals, measurements, sample_weight=given)
            assert isinstance(found, float)
            assert found == pytest.approx(expected, rel=1e-9)
        expected = regressor.score(Y, X, None if given is None else weight)
        assert regressor.score(lazy_Y, lazy_X, given) == pytest.approx(expected, rel=1e-9)


def test_score_where_means_are_large(data, weight):
    """The digits of deviations that are a millionth of the mean are not lost, in any chunks."""
    true, noise = data[0] + 1e6, np.random.RandomState(0).standard_normal((300, 2))
    expected = r2_score(true, true + noise, sample_weight=weight, multioutput="variance_weighted")
    for size in (1, 7, 300):
        lazy = da.from_array(true, chunks=size)
        assert variance_weighted_r2(lazy, true + noise, weight) == pytest.approx(expected, rel=1e-9)


def test_score_of_features_that_do_not_vary(estimator, data):
    X, Y, _, lazy_Y = data
    for constant in (X * [1.0, 0.0], np.zeros_like(X)):
        assert estimator.score(constant, lazy_Y) == pytest.approx(estimator.score(constant, Y))


def test_score_of_few_rows(estimator, data):
    lazy_X, lazy_Y = data[2:]
    with pytest.warns(UserWarning, match="less than two samples"):
        assert np.isnan(estimator.score(lazy_X[:1], lazy_Y[:1]))


def test_score_of_measurements_that_are_drawn(estimator, data):
    X, Y, lazy_X, _ = data
    one_chunk = lazy_X.rechunk(-1)
    assert estimator.score(one_chunk) == pytest.approx(estimator.score(X), rel=1e-9)
    assert estimator.score(lazy_X) == estimator.score(lazy_X)
    assert estimator.score(lazy_X) == pytest.approx(estimator.score(X, Y), abs=0.1)


def test_score_of_one_measurement(data):
    X, _, lazy_X, lazy_Y = data
    estimator = DivergenceRegularizedINN(operator=A[:1], **OPTIONS).fit(X, data[1][:, 0])
    expected = estimator.score(X, data[1][:, 0])
    assert estimator.score(lazy_X, lazy_Y[:, 0]) == pytest.approx(expected, rel=1e-9)


# ------------------------------------------------------------------------ wrappers and schedulers


def test_reconstructor(regressor, data):
    X, Y, lazy_X, lazy_Y = data
    for name in OF_MEASUREMENTS:
        assert_lazily_equal(getattr(regressor, name), Y, lazy_Y)
    assert_lazily_equal(regressor.predict, Y, lazy_Y, return_std=True)
    assert_lazily_equal(regressor.forward, X, lazy_X)
    with pytest.raises(ValueError, match="X has 2 features"):
        regressor.predict(lazy_X)
    assert not hasattr(Reconstructor(StandardScaler()), "posterior_covariance")


def test_reconstructor_of_one_feature(data):
    X, Y, lazy_X, lazy_Y = data
    inner = DivergenceRegularizedINN(operator=A[:, :1], **OPTIONS)
    regressor = Reconstructor(inner).fit(Y, X[:, 0])
    assert_lazily_equal(regressor.predict, Y, lazy_Y)
    expected = regressor.score(Y, X[:, 0])
    assert regressor.score(lazy_Y, lazy_X[:, 0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "wrapped",
    [
        make_pipeline(StandardScaler(), DivergenceRegularizedINN(**OPTIONS)),
        GridSearchCV(DivergenceRegularizedINN(**OPTIONS), {"epsilon": [0.1]}, cv=2),
    ],
    ids=["pipeline", "search"],
)
def test_reconstructor_of_what_knows_no_dask_arrays(wrapped, data, pairs):
    X, Y = pairs
    regressor = Reconstructor(wrapped).fit(Y, X)
    assert_lazily_equal(regressor.predict, Y, da.from_array(Y, chunks=(80, 1)))


def test_pipeline_whose_steps_pass_dask_arrays_on(pairs):
    X, Y = pairs
    lazy_X, lazy_Y = (da.from_array(rows, chunks=(100, -1)) for rows in pairs)
    scale = FunctionTransformer(lambda X: 2 * X, lambda X: X / 2)
    pipeline = make_pipeline(scale, DivergenceRegularizedINN(**OPTIONS)).fit(X, Y)
    assert_lazily_equal(pipeline.transform, X, lazy_X)
    assert_lazily_equal(pipeline.inverse_transform, Y, lazy_Y)
    assert pipeline.score(lazy_X, lazy_Y) == pytest.approx(pipeline.score(X, Y), rel=1e-9)


def test_the_estimator_is_in_the_graph_once(estimator, data):
    big = data[3].rechunk((3, -1))
    n_chunks, lazy = big.numblocks[0], estimator.predict(big)
    (optimized,) = dask.optimize(lazy)
    for graph in (lazy.dask, optimized.dask):
        values = dict(graph).values()
        assert sum("DivergenceRegularizedINN(" in repr(value) for value in values) == 1
    assert len(cloudpickle.dumps(lazy)) < len(cloudpickle.dumps(estimator)) + 2000 * n_chunks
    assert lazy.name == estimator.predict(big).name  # the same estimator makes the same keys


def count_unpickling():
    from skinvbayes.estimators import base

    cls, base.n_unpickled = base.BaseINN, 0
    restore = cls.__setstate__

    def counting(self, state):
        base.n_unpickled += 1
        restore(self, state)

    cls.__setstate__ = counting


def n_unpickled():
    from skinvbayes.estimators import base

    return base.n_unpickled


@pytest.mark.usefixtures("warm_processes")
def test_on_a_cluster(estimator, regressor, data):
    X, Y, lazy_X, lazy_Y = data
    lazy_X, lazy_Y = (rows.rechunk((20, -1)) for rows in (lazy_X, lazy_Y))
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        client.run(count_unpickling)
        found = client.compute(estimator.predict(lazy_Y)).result()
        assert all(number <= 1 for number in client.run(n_unpickled).values())
        np.testing.assert_allclose(found, estimator.predict(Y), rtol=1e-9)
        with dask.config.set(scheduler=client):
            assert_lazily_equal(regressor.predict, Y, lazy_Y, return_std=True)
            assert_lazily_equal(regressor.posterior_covariance, Y, lazy_Y)
            expected = estimator.score(X, Y)
            assert estimator.score(lazy_X, lazy_Y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.usefixtures("warm_processes")
def test_in_processes(regressor, data):
    with dask.config.set(scheduler="processes", num_workers=1):
        assert_lazily_equal(regressor.predict, data[1], data[3], return_std=True)
