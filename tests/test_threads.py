"""Threads that share an estimator, and the number of threads of torch."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_info, threadpool_limits

from helpers import ALL
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_deblurring_digits, make_bimodal
from skinvbayes.inference import trained_map
from skinvbayes.numerics.threads import single_thread

BRANCHES = {"gradient": {}, "mlp": {"residual": "mlp"}, "three blocks": {"n_blocks": 3}}


@pytest.fixture(scope="module")
def pairs():
    data = make_bimodal(200, noise_level=0.3, random_state=0)
    return data.X, data.Y


def set_own_number(n_threads):
    """Of torch threads in this thread, which torch has to know before, or it takes any other's."""
    torch.get_num_threads()
    torch.set_num_threads(n_threads)


def overlap(first, second, monkeypatch):
    """Two calls in threads: the second one enters its inversion while the first is in its own."""
    both_in, first_done = threading.Barrier(2), threading.Event()
    invert, thread = trained_map.invert, threading.local()

    def waiting(*args, **kwargs):
        both_in.wait(20)
        if thread.is_second:
            assert first_done.wait(20)
        return invert(*args, **kwargs)

    def run(call, is_second):
        thread.is_second = is_second
        result = call()
        if not is_second:
            first_done.set()
        return result

    monkeypatch.setattr(trained_map, "invert", waiting)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run, first, False), pool.submit(run, second, True)]
        return [future.result(60) for future in futures]


@pytest.mark.parametrize("parameters", BRANCHES.values(), ids=BRANCHES)
@pytest.mark.parametrize("cls", ALL)
def test_overlapping_calls_leave_no_trace(cls, parameters, pairs, monkeypatch):
    """Predictions, a warm-started fit and a partial_fit have the bits of an undisturbed run."""
    X, Y = pairs

    options = {"max_iter": 6, "warm_start": True, "random_state": 0}
    fitted = cls(**options, **parameters).fit(X, Y)

    def run(disturbed):
        estimator = copy.deepcopy(fitted)
        calls = [lambda: estimator.predict(Y), lambda: estimator.predict(Y[:50])]
        if disturbed:
            with monkeypatch.context() as patch:
                found = overlap(*calls, patch)
        else:
            found = [call() for call in calls]
        found += [estimator.transform(X), estimator.jacobian(X)]
        before = [p.clone() for p in estimator.network_.parameters()]
        found.append(estimator.fit(X, Y).predict(Y))
        assert any(
            not torch.equal(new, old)
            for new, old in zip(estimator.network_.parameters(), before, strict=True)
        )
        found.append(estimator.partial_fit(X[::2], Y[::2]).predict(Y))
        return found

    for expected, found in zip(run(False), run(True), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_search_in_threads_is_the_serial_one():
    data = load_deblurring_digits()
    X, Y = data.X_train[:100], data.Y_train[:100]
    estimator = ReconstructionINN(operator=data.operator, max_iter=3, random_state=0)

    def scores(n_jobs):
        search = GridSearchCV(estimator, {"lipschitz": [0.9, 0.99]}, cv=2, n_jobs=n_jobs)
        return search.fit(X, Y).cv_results_["mean_test_score"], search.predict(Y)

    serial = scores(None)
    with joblib.parallel_config(backend="threading"):
        threaded = scores(3)
    for expected, found in zip(serial, threaded, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_thread_finds_its_own_number_of_torch_threads(pairs):
    X, Y = pairs
    estimator = DivergenceRegularizedINN(max_iter=2, random_state=0).fit(X, Y)
    start = threading.Barrier(3)

    def predict(n_threads, repetitions):
        set_own_number(n_threads)
        start.wait(20)
        for _ in range(repetitions):
            estimator.predict(Y)
        return torch.get_num_threads()

    own, before = (1, 2, 3), torch.get_num_threads()
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(predict, n, 20 // n) for n in own]
        assert tuple(future.result(60) for future in futures) == own
    torch.set_num_threads(before)


def test_contexts_overlap():
    """The first one in leaves first, and finds its number; inside there is one thread."""
    both_in, first_out = threading.Barrier(2), threading.Event()

    def first():
        set_own_number(3)
        with single_thread():
            both_in.wait(20)
            inside = torch.get_num_threads()
        first_out.set()
        return inside, torch.get_num_threads()

    def second():
        set_own_number(2)
        with single_thread():
            both_in.wait(20)
            assert first_out.wait(20)
            inside = torch.get_num_threads()
        return inside, torch.get_num_threads()

    before = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(first), pool.submit(second)]
        assert [future.result(60) for future in futures] == [(1, 3), (1, 2)]
    torch.set_num_threads(before)


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_linear_algebra_has_one_thread_inside_every_thread():
    """Also in a worker after the main thread has set a limit, and whoever leaves last."""
    both_in, first_out = threading.Barrier(2), threading.Event()

    def first():
        with single_thread():
            both_in.wait(20)
            inside = blas_threads()
        first_out.set()
        return inside

    def second():
        with single_thread():
            both_in.wait(20)
            assert first_out.wait(20)
            return blas_threads()

    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):
            with single_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {2}
            with ThreadPoolExecutor(2) as pool:
                futures = [pool.submit(first), pool.submit(second)]
                assert [future.result(60) for future in futures] == [{1}, {1}]
            assert blas_threads() == {2}
            both_in.reset()
            first_out.clear()


@pytest.mark.filterwarnings("ignore:.*still falling")
@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_many_predictions_beside_a_training(cls, pairs):
    """Eight threads predict while a copy is trained on; all have the bits of a single thread."""
    X, Y = pairs
    estimator = cls(max_iter=2, random_state=0).fit(X, Y)
    parts = np.array_split(Y, 8)
    expected = [estimator.predict(part) for part in parts]
    other = copy.deepcopy(estimator)
    trained = copy.deepcopy(estimator).partial_fit(X, Y).predict(Y)
    start = threading.Barrier(9)

    def predict(part, expected):
        start.wait(20)
        return all(np.array_equal(estimator.predict(part), expected) for _ in range(100))

    def train():
        start.wait(20)
        return other.partial_fit(X, Y).predict(Y)

    with ThreadPoolExecutor(9) as pool:
        training = pool.submit(train)
        predictions = [pool.submit(predict, *both) for both in zip(parts, expected, strict=True)]
        assert all(prediction.result(120) for prediction in predictions)
        np.testing.assert_array_equal(training.result(120), trained)
