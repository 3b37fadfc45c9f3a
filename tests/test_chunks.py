"""Fit on more pairs than are taken as a whole: in memory, on disk and on a cluster."""

import itertools
import os
import signal
import sys
import warnings

import dask.array as da
import numpy as np
import pytest
import torch
from sklearn.base import clone

from helpers import ALL, every
from programs import in_a_process
from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_mixture
from skinvbayes.estimators import many_pairs
from skinvbayes.operators import estimate_operator
from skinvbayes.problem.moments import Moments, moment_sums
from skinvbayes.training import pair_chunks
from skinvbayes.training.chunked_objective import ChunkedObjective

OPTIONS = {"max_iter": 4, "random_state": 0}
DIFFERENT = [ReconstructionINN, LogDetRegularizedINN]  # one draws noise, one trains in two stages


@pytest.fixture(scope="module")
def data():
    return make_mixture(3000, 200, n_features=2, operator="square", random_state=1)


@pytest.fixture
def few_at_once(monkeypatch):
    """A sample of 1,000 pairs, and chunks of 800."""
    monkeypatch.setattr(many_pairs, "MOST_ENTRIES", 4000)
    monkeypatch.setattr(pair_chunks, "_SAMPLE_ENTRIES", 4000)
    monkeypatch.setattr(pair_chunks, "_CHUNK_ENTRIES", 3200)


@pytest.fixture
def whole_sample(few_at_once, monkeypatch):
    """Chunks too, but all pairs are the sample."""
    monkeypatch.setattr(pair_chunks, "_SAMPLE_ENTRIES", 2**22)


def lazy(*arrays):
    """Arrays of dask, in chunks of their own."""
    return [
        da.from_array(array, chunks=(700 + 50 * i, -1)[: array.ndim])
        for i, array in enumerate(arrays)
    ]


@pytest.fixture(scope="module")
def cluster(warm_processes):
    """Two processes that take the work of dask."""
    distributed = pytest.importorskip("dask.distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as workers, distributed.Client(workers) as client:
        yield client


def parameters(estimator):
    return torch.cat([p.detach().ravel() for p in estimator.network_.parameters()]).numpy()


@every
def test_chunks_are_the_pairs(cls, data, whole_sample, monkeypatch):
    """With a sample of all pairs, full batches over chunks are those over pairs to rounding."""
    options = {"operator": data.operator, "solver": "lbfgs", "prior_bandwidth": 0.0, **OPTIONS}
    chunked = cls(**options).fit(data.X_train, data.Y_train)
    monkeypatch.setattr(many_pairs, "MOST_ENTRIES", 2**22)
    plain = cls(**options).fit(data.X_train, data.Y_train)
    if cls is ReconstructionINN:  # whose noise is drawn chunk by chunk
        scores = [m.score(data.X_test, data.Y_test) for m in (chunked, plain)]
        assert abs(scores[0] - scores[1]) < 0.01
        return
    np.testing.assert_allclose(chunked.loss_curve_, plain.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(parameters(chunked), parameters(plain), rtol=1e-4, atol=1e-5)


VARIANTS = {
    "plain": {},
    "adam": {"solver": "adam", "max_iter": 2},
    "estimated": {"operator": "estimate", "max_iter": 10},  # enough for a trial before
    "unequal": {"noise_level": np.array([0.5, 1.0])},
    "early": {"early_stopping": True},
}


@pytest.mark.parametrize(
    ("cls", "variant"),
    [
        *itertools.product(ALL, ["plain"]),
        *itertools.product(DIFFERENT, ["adam", "estimated", "unequal", "early"]),
    ],
)
def test_dask_arrays_give_the_same_model(cls, variant, data, few_at_once):
    options = {"operator": data.operator, **OPTIONS, **VARIANTS[variant]}
    pairs = data.X_train, data.Y_train
    weight = np.random.RandomState(0).rand(len(pairs[0]))
    plain = cls(**options).fit(*pairs, sample_weight=weight)
    other = cls(**options).fit(*lazy(*pairs), sample_weight=lazy(weight)[0])
    np.testing.assert_allclose(parameters(other), parameters(plain), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.predict(data.Y_test), plain.predict(data.Y_test), rtol=1e-9)


@pytest.mark.parametrize("cls", DIFFERENT)
def test_missing_measurements(cls, data, few_at_once):
    Y = data.Y_train.copy()
    Y[np.random.RandomState(0).rand(*Y.shape) < 0.1] = np.nan
    Y[np.isnan(Y).all(axis=1)] = 0.0
    options = {"operator": data.operator, **OPTIONS}
    plain = cls(**options).fit(data.X_train, Y)
    other = cls(**options).fit(*lazy(data.X_train, Y))
    np.testing.assert_allclose(parameters(other), parameters(plain), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls", DIFFERENT)
def test_measurements_are_drawn_chunk_by_chunk(cls, data, few_at_once):
    options = {"operator": data.operator, "noise_level": data.noise_level, **OPTIONS}
    X = np.tile(data.X_train, (2, 1)) + 1e-3 * np.arange(6000)[:, None] / 6000
    plain = cls(**options).fit(X)
    other = cls(**options).fit(*lazy(X))
    np.testing.assert_allclose(parameters(other), parameters(plain), rtol=1e-9, atol=1e-12)


def test_nonlinear_operators(data, few_at_once):
    def forward(x):
        return torch.tanh(x / 2)

    Y = np.tanh(data.X_train / 2) + 0.1 * np.random.RandomState(0).standard_normal((3000, 2))
    estimator = DivergenceRegularizedINN(operator=forward, **OPTIONS)
    plain = clone(estimator).fit(data.X_train, Y).predict(Y[:5])
    other = clone(estimator).fit(*lazy(data.X_train, Y)).predict(Y[:5])
    np.testing.assert_allclose(other, plain, rtol=1e-6, atol=1e-8)


def test_groups_stay_together_in_memory(data, few_at_once):
    groups = np.arange(3000) // 2
    options = {"operator": data.operator, "early_stopping": True, **OPTIONS}
    plain = DivergenceRegularizedINN(**options)
    plain.fit(data.X_train, data.Y_train, groups=groups)
    other = DivergenceRegularizedINN(**options)
    other.fit(*lazy(data.X_train, data.Y_train), groups=groups)
    np.testing.assert_array_equal(parameters(other), parameters(plain))


def test_early_stopping_by_pairs_of_its_own(data, few_at_once):
    options = {"operator": data.operator, "early_stopping": True, **OPTIONS}
    own = {"X_val": data.X_test, "y_val": data.Y_test}
    plain = ReconstructionINN(**options).fit(data.X_train, data.Y_train, **own)
    other = ReconstructionINN(**options).fit(*lazy(data.X_train, data.Y_train), **own)
    np.testing.assert_array_equal(parameters(other), parameters(plain))
    assert other.validation_loss_curve_ == plain.validation_loss_curve_


def test_warm_start(data, few_at_once):
    options = {"operator": data.operator, "warm_start": True, "prior_bandwidth": 0.0, **OPTIONS}
    estimator = DivergenceRegularizedINN(**options).fit(data.X_train, data.Y_train)
    first = estimator.best_loss_
    estimator.fit(*lazy(data.X_train, data.Y_train))
    assert estimator.n_iter_ == 2 * OPTIONS["max_iter"]
    assert estimator.best_loss_ < first


def test_few_pairs_are_gathered(data):
    plain = DivergenceRegularizedINN(**OPTIONS).fit(data.X_train, data.Y_train)
    other = DivergenceRegularizedINN(**OPTIONS).fit(*lazy(data.X_train, data.Y_train))
    np.testing.assert_array_equal(parameters(other), parameters(plain))


def test_rows_of_unknown_number(data, few_at_once):
    X, Y = lazy(data.X_train, data.Y_train)
    kept = X[:, 0] > 0
    chunks = X[kept], Y[kept]
    other = DivergenceRegularizedINN(**OPTIONS).fit(*chunks)
    assert np.isnan(chunks[0].shape[0])  # what was passed in stays as it was
    kept = data.X_train[:, 0] > 0
    plain = DivergenceRegularizedINN(**OPTIONS).fit(data.X_train[kept], data.Y_train[kept])
    np.testing.assert_allclose(parameters(other), parameters(plain), rtol=1e-9, atol=1e-12)


def test_training_sees_all_pairs(data, few_at_once, monkeypatch):
    """A chunk that the sample leaves out moves the model."""
    monkeypatch.setattr(many_pairs, "sample_rows", lambda n, width: np.arange(1000))
    X = data.X_train.copy()
    X[2000:] *= 1.5
    options = {"operator": data.operator, "prior_bandwidth": 0.0, **OPTIONS}
    moved, plain = (
        DivergenceRegularizedINN(**options).fit(rows, data.Y_train) for rows in (X, data.X_train)
    )
    assert np.abs(parameters(moved) - parameters(plain)).max() > 1e-3


@pytest.mark.parametrize("as_given", [lambda *arrays: arrays, lazy], ids=["memory", "dask"])
def test_the_problem_is_told_from_all_pairs(as_given, data, few_at_once):
    """The operator, the constant and the means, of which 1,000 pairs would say something else."""
    weight = np.linspace(0.5, 1.5, len(data.X_train))
    Y = data.Y_train + [0.0, 3.0]
    options = {"operator": "estimate", "max_iter": 1, "prior_bandwidth": 0.1}
    fitted = LogDetRegularizedINN(**options).fit(*as_given(data.X_train, Y, weight))
    expected = estimate_operator(data.X_train, Y, sample_weight=weight).to_dense()
    np.testing.assert_allclose(fitted.operator_.to_dense(), expected, rtol=1e-9)
    problem, mean = fitted.problem_, np.average(data.X_train, axis=0, weights=weight)
    np.testing.assert_allclose(problem.coordinates.signal_mean, mean, rtol=1e-9)
    std = np.sqrt(np.average((data.X_train - mean) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(problem.signal_std, std, rtol=1e-9)
    image = problem.measurement.predicted(data.X_train)
    np.testing.assert_allclose(np.average(Y - image, axis=0, weights=weight), 0, atol=1e-9)


@pytest.mark.parametrize("as_given", [lambda *arrays: arrays, lazy], ids=["memory", "dask"])
def test_few_pairs_that_count(as_given, data, few_at_once):
    """A sample of all pairs would hold none of them."""
    X, Y, weight = data.X_train, data.Y_train, np.zeros(len(data.X_train))
    rows = np.random.RandomState(0).permutation(len(X))[:40]
    weight[rows] = 1.0
    fitted = DivergenceRegularizedINN(**OPTIONS).fit(*as_given(X, Y, weight))
    expected = estimate_operator(X[rows], Y[rows]).to_dense()
    np.testing.assert_allclose(fitted.operator_.to_dense(), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="weight"):
        DivergenceRegularizedINN(**OPTIONS).fit(*as_given(X, Y, 0 * weight))


def test_moments_keep_their_digits(data):
    """Of signals far from zero, and a feature that does not vary."""
    X = np.column_stack([data.X_train + 1e7, np.full(len(data.X_train), 0.1)])
    origin = np.hstack([X[0], data.Y_train[0]])
    parts = (moment_sums(X[i::3], data.Y_train[i::3], np.ones(1000), origin) for i in range(3))
    found = Moments.from_sums(pair_chunks.added(parts), origin)
    np.testing.assert_allclose(found.signal_covariance, np.cov(X.T, bias=True), atol=1e-8)
    A = found.least_squares().to_dense()
    np.testing.assert_allclose(A, estimate_operator(X, data.Y_train).to_dense(), atol=1e-6)
    assert not A[:, 2].any()


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_batches_come_from_several_chunks(cls, data, few_at_once, monkeypatch):
    """Pairs that are sorted do not make mini-batches of neighbours."""
    spreads = []

    def recorded(self, *arguments):
        n_batches, batches = iteration(self, *arguments)
        batches = list(batches)
        spreads.extend(batch.x[:, 0].std().item() for batch in batches)
        return n_batches, batches

    iteration = ChunkedObjective.iteration
    monkeypatch.setattr(ChunkedObjective, "iteration", recorded)
    order = np.argsort(data.X_train[:, 0])
    settings = {"solver": "adam", "max_iter": 3, "random_state": 0}
    cls(**settings).fit(data.X_train[order], data.Y_train[order])
    spreads = np.array(spreads)
    assert len(spreads) and spreads.min() > 0.6 * spreads.max()


def test_outliers_are_replaced_in_every_chunk(data, few_at_once):
    Y = data.Y_train.copy()
    rows = np.random.RandomState(0).permutation(len(Y))[:30]
    Y[rows, 0] += 100.0
    options = {"operator": data.operator, **OPTIONS}
    with pytest.warns(UserWarning, match="cannot be Gaussian"):
        found = ReconstructionINN(solver="lbfgs", **options).fit(data.X_train, Y)
    plain = ReconstructionINN(solver="lbfgs", **options).fit(data.X_train, data.Y_train)
    found, plain = found.score(data.X_test, data.Y_test), plain.score(data.X_test, data.Y_test)
    assert found > plain - 0.01


@pytest.mark.parametrize("operator", ["given", "estimate"])
@pytest.mark.parametrize("as_given", [lambda *arrays: arrays, lazy], ids=["memory", "dask"])
def test_an_outlier_that_the_sample_does_not_hold(
    as_given, operator, data, few_at_once, monkeypatch
):
    monkeypatch.setattr(many_pairs, "sample_rows", lambda n, width: np.arange(1000))
    Y = data.Y_train.copy()
    Y[1500, 1] = 1e6
    options = {"operator": data.operator if operator == "given" else operator, **OPTIONS}
    plain = DivergenceRegularizedINN(**options).fit(data.X_train, data.Y_train)
    with pytest.warns(UserWarning, match="all 3000 pairs, 1 readings cannot be Gaussian"):
        found = DivergenceRegularizedINN(**options).fit(*as_given(data.X_train, Y))
    found, plain = found.predict(data.Y_test), plain.predict(data.Y_test)
    assert np.abs(found - plain).max() < 0.01 * np.abs(plain).max()


@pytest.mark.parametrize("row", [3, 1500])
def test_a_bad_row_is_named_wherever_it_is(row, data, few_at_once, monkeypatch):
    monkeypatch.setattr(many_pairs, "sample_rows", lambda n, width: np.arange(0, n, 3))
    for name, value in (("X", np.nan), ("y", np.nan), ("y", 1e60)):
        X, Y = data.X_train.copy(), data.Y_train.copy()
        (X if name == "X" else Y)[row] = value
        with pytest.raises(ValueError, match=f"{name} contains .* in row {row}"):
            DivergenceRegularizedINN(operator=data.operator, **OPTIONS).fit(X, Y)


def test_one_weight_for_all(data, few_at_once):
    plain = DivergenceRegularizedINN(**OPTIONS).fit(data.X_train, data.Y_train)
    other = DivergenceRegularizedINN(**OPTIONS).fit(data.X_train, data.Y_train, 2.0)
    np.testing.assert_array_equal(parameters(other), parameters(plain))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("X", np.nan, "X contains NaN or infinity in row 1000"),
        ("Y", np.inf, "y contains infinity in row 1000"),
        ("weight", -1.0, "sample_weight is negative or not finite in row 1000"),
    ],
)
def test_bad_values_are_named(name, value, message, data, few_at_once, monkeypatch):
    monkeypatch.setattr(many_pairs, "sample_rows", lambda n, width: np.arange(1000))
    parts = {"X": data.X_train.copy(), "Y": data.Y_train.copy(), "weight": np.ones(3000)}
    parts[name][1000:1001] = value
    X, Y, weight = parts.values()
    estimator = DivergenceRegularizedINN(operator=data.operator, **OPTIONS)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y, sample_weight=weight)
    with pytest.raises(ValueError, match=message):
        estimator.fit(*lazy(X, Y), sample_weight=lazy(weight)[0])


def peak():
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_of_a_fit():
    """What a fit takes beyond its pairs, as a share of what they take."""
    X, Y = (np.random.default_rng(seed).standard_normal((1_000_000, 16)) for seed in (0, 1))
    np.abs(X, out=X)
    Y *= 0.3
    Y += X
    before = peak()
    estimator = ReconstructionINN(noise_level=0.3, max_iter=1, prior_bandwidth=0.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, Y)
    return (peak() - before) / (X.nbytes + Y.nbytes)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak")
@pytest.mark.usefixtures("warm_processes")
def test_memory_of_a_fit():
    """Beyond the pairs, a fit takes no more than half of what they take.

    It takes 0.3 of it; once, beside busy processes, the allocator held 0.54 for a moment.
    """
    assert any(in_a_process(memory_of_a_fit) < 0.5 for _ in range(2))


def test_one_worker_or_two(data, few_at_once, cluster):
    """Neither the number of workers nor how many take part changes a bit."""
    options = {"operator": data.operator, **OPTIONS}
    plain = ReconstructionINN(**options).fit(data.X_train, data.Y_train)
    other = ReconstructionINN(**options).fit(*lazy(data.X_train, data.Y_train))
    np.testing.assert_array_equal(parameters(other), parameters(plain))


def test_killed_worker(data, few_at_once, cluster, monkeypatch):
    """The chunks of a worker that dies are made again elsewhere, to the same bits."""
    options = {"operator": data.operator, **OPTIONS}
    plain = LogDetRegularizedINN(**options).fit(data.X_train, data.Y_train)
    victim = next(iter(cluster.run(os.getpid).values()))
    calls, backward = itertools.count(), ChunkedObjective.backward

    def kill_once(objective, network):
        if next(calls) == 2:
            os.kill(victim, signal.SIGKILL)
        return backward(objective, network)

    monkeypatch.setattr(ChunkedObjective, "backward", kill_once)
    other = LogDetRegularizedINN(**options).fit(*lazy(data.X_train, data.Y_train))
    assert next(calls) > 2
    np.testing.assert_array_equal(parameters(other), parameters(plain))


def test_other_collections_of_dask_are_refused_by_name(data):
    bag = pytest.importorskip("dask.bag").from_sequence(range(3))
    with pytest.raises(TypeError, match="only arrays are taken; got Bag"):
        DivergenceRegularizedINN().fit(bag, data.Y_train)
