"""What is stored is what comes back, to the last bit, and nothing else is let in."""

import pickle

import cloudpickle
import joblib
import numpy as np
import pytest
import skops.io as sio
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import every
from skinvbayes import (
    DivergenceRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)

OPTIONS = {"max_iter": 3, "random_state": 0}


def by_pickle(estimator, path):
    return pickle.loads(pickle.dumps(estimator))


def by_cloudpickle(estimator, path):
    return pickle.loads(cloudpickle.dumps(estimator))


def by_joblib(estimator, path):
    joblib.dump(estimator, path)
    return joblib.load(path)


def by_joblib_mmap(estimator, path):
    joblib.dump(estimator, path)
    return joblib.load(path, mmap_mode="r")


def by_skops(estimator, path):
    sio.dump(estimator, path)
    return sio.load(path, trusted=sio.get_untrusted_types(file=path))


ROUTES = [by_pickle, by_cloudpickle, by_joblib, by_joblib_mmap, by_skops]
every_route = pytest.mark.parametrize("route", ROUTES)


def assert_same(estimator, loaded, methods, X, Y):
    for method, argument in methods.items():
        before, after = (getattr(one, method)(argument) for one in (estimator, loaded))
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype
    pair = (Y, X) if isinstance(estimator, Reconstructor) else (X, Y)
    assert estimator.score(*pair) == loaded.score(*pair)


@every_route
@pytest.mark.parametrize("residual", ["gradient", "mlp"])
@every
def test_estimators(cls, residual, route, pairs, tmp_path):
    X, Y = pairs
    estimator = cls(residual=residual, n_blocks=2, **OPTIONS).fit(X, Y)
    loaded = route(estimator, tmp_path / "model")
    methods = {"predict": Y, "transform": X, "inverse_transform": Y}
    assert_same(estimator, loaded, methods, X, Y)
    assert loaded.get_params() == estimator.get_params()
    assert loaded.loss_curve_ == estimator.loss_curve_


@every_route
@pytest.mark.parametrize("make_operator", [np.asarray, csr_array, lambda A: "estimate"])
def test_operators(make_operator, route, pairs, tmp_path):
    X, _ = pairs
    A = np.array([[1.0, 0.2], [0.0, 0.7], [0.5, 0.5]])
    Y = X @ A.T + 0.1 * np.random.RandomState(0).standard_normal((len(X), 3))
    estimator = DivergenceRegularizedINN(operator=make_operator(A), **OPTIONS).fit(X, Y)
    loaded = route(estimator, tmp_path / "model")
    assert_same(estimator, loaded, {"predict": Y, "transform": X}, X, Y)


@every_route
def test_in_a_pipeline(route, pairs, tmp_path):
    X, Y = pairs
    pipeline = make_pipeline(StandardScaler(), ReconstructionINN(**OPTIONS)).fit(X, Y)
    loaded = route(pipeline, tmp_path / "model")
    assert_same(pipeline, loaded, {"transform": X, "inverse_transform": Y}, X, Y)


@every_route
def test_in_a_search(route, pairs, tmp_path):
    X, Y = pairs
    search = GridSearchCV(DivergenceRegularizedINN(**OPTIONS), {"epsilon": [0.05, 0.1]}, cv=2)
    search.fit(X, Y)
    loaded = route(search, tmp_path / "model")
    methods = {"predict": Y, "transform": X, "inverse_transform": Y}
    assert_same(search, loaded, methods, X, Y)
    scores = "mean_test_score"
    np.testing.assert_array_equal(loaded.cv_results_[scores], search.cv_results_[scores])


@every_route
def test_in_a_reconstructor(route, pairs, tmp_path):
    X, Y = pairs
    regressor = Reconstructor(DivergenceRegularizedINN(**OPTIONS)).fit(Y, X)
    loaded = route(regressor, tmp_path / "model")
    assert_same(regressor, loaded, {"predict": Y, "forward": X}, X, Y)


@every_route
def test_unfitted(route, tmp_path):
    estimator = DivergenceRegularizedINN(0.1, residual="mlp")
    assert route(estimator, tmp_path / "model").get_params() == estimator.get_params()


@every_route
@pytest.mark.parametrize("start", ["fit", "partial_fit"])
def test_training_goes_on_as_if_nothing_had_happened(start, route, pairs, tmp_path):
    """Adam's moments and the generator are stored too."""
    estimator = getattr(DivergenceRegularizedINN(**OPTIONS), start)(*pairs)
    loaded = route(estimator, tmp_path / "model")
    for _ in range(2):
        estimator.partial_fit(*pairs)
        loaded.partial_fit(*pairs)
    np.testing.assert_array_equal(estimator.predict(pairs[1]), loaded.predict(pairs[1]))
    assert loaded.loss_curve_ == estimator.loss_curve_


def test_the_state_is_plain(pairs):
    """Arrays, numbers and this package's own classes: no torch object, nothing to run."""
    state = DivergenceRegularizedINN(**OPTIONS).partial_fit(*pairs).__getstate__()
    assert b"torch" not in pickle.dumps(state)
    arrays = state["network_"]["arrays"].values()
    assert all(type(array) is np.ndarray for array in arrays)


def test_storing_changes_nothing(pairs):
    estimator = DivergenceRegularizedINN(**OPTIONS).fit(*pairs)
    before = estimator.predict(pairs[1])
    pickle.dumps(estimator)
    assert isinstance(estimator.network_, torch.nn.Module)
    np.testing.assert_array_equal(estimator.predict(pairs[1]), before)


def test_model_of_a_gpu_loads_without_one(pairs):
    estimator = DivergenceRegularizedINN(**OPTIONS).fit(*pairs)
    estimator.device = "cuda:7"  # as if fitted there
    loaded = pickle.loads(pickle.dumps(estimator))
    assert loaded.network_.device.type == "cpu" or torch.cuda.device_count() > 7
    np.testing.assert_allclose(loaded.predict(pairs[1]), estimator.predict(pairs[1]))


@pytest.mark.parametrize(
    ("version", "advice"),
    [(None, "Store it again"), (3, "Store it again"), ("0.0.9", "install version 0.0 to load")],
)
def test_other_versions_are_refused(version, advice, pairs):
    state = DivergenceRegularizedINN(**OPTIONS).fit(*pairs).__getstate__()
    state["_skinvbayes_version"] = version
    with pytest.raises(ValueError, match=f"written by version {version}.*{advice}"):
        DivergenceRegularizedINN.__new__(DivergenceRegularizedINN).__setstate__(state)


def test_arrays_that_do_not_fit_are_refused(pairs):
    state = DivergenceRegularizedINN(**OPTIONS).fit(*pairs).__getstate__()
    state["network_"]["config"]["hidden_layer_sizes"] = (7,)
    with pytest.raises(ValueError, match="does not fit its configuration"):
        DivergenceRegularizedINN.__new__(DivergenceRegularizedINN).__setstate__(state)


@pytest.mark.parametrize("operator", [None, "estimate", np.eye(2)], ids=str)
def test_skops_need_trust_only_this_package(operator, pairs, tmp_path):
    X, Y = pairs
    estimator = DivergenceRegularizedINN(operator=operator, **OPTIONS)
    fitted = [
        estimator.fit(X, Y),
        clone(estimator).partial_fit(X, Y),
        make_pipeline(StandardScaler(), estimator).fit(X, Y),
        Reconstructor(estimator).fit(Y, X),
    ]
    for one in fitted:
        sio.dump(one, tmp_path / "model")
        unknown = sio.get_untrusted_types(file=tmp_path / "model")
        assert all(name.startswith("skinvbayes.") for name in unknown), unknown


@pytest.mark.parametrize("damage", ["problem_", "_continuation", "device", "config", "network"])
def test_damaged_states_are_refused(damage, pairs):
    state = DivergenceRegularizedINN(**OPTIONS).fit(*pairs).__getstate__()
    if damage == "config":
        del state["network_"]["config"]["n_features"]
    elif damage == "network":
        state["network_"] = "garbage"
    else:
        del state[damage]
    with pytest.raises(ValueError, match="incomplete or damaged"):
        DivergenceRegularizedINN.__new__(DivergenceRegularizedINN).__setstate__(state)
