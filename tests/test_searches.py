"""Searches: the same scores wherever they run, and by a scorer that means what it says."""

import pickle

import distributed
import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
    reconstruction_scorer,
)
from skinvbayes.datasets import make_bimodal

# -------------------------------------------------------------------------- wherever they run


OPTIONS = {"max_iter": 4, "random_state": 0}
SEARCHES = {
    "adam": (
        LogDetRegularizedINN(solver="adam", **OPTIONS),
        [{"epsilon": [0.01, 0.1]}, {"prior_bandwidth": [0.0, 0.2], "residual": ["mlp"]}],
    ),
    "losses": (
        Pipeline([("inn", ApproximationINN(**OPTIONS))]),
        {
            "inn": [
                ApproximationINN(**OPTIONS),
                ReconstructionINN(**OPTIONS),
                LogDetRegularizedINN(**OPTIONS),
                DivergenceRegularizedINN(**OPTIONS),
            ]
        },
    ),
}


@pytest.fixture(scope="module")
def dask_client(warm_processes):
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.parametrize("name", SEARCHES)
def test_same_scores_in_processes_threads_and_on_a_cluster(name, pairs, dask_client):
    estimator, grid = SEARCHES[name]

    def scores(n_jobs=2):
        search = GridSearchCV(estimator, grid, cv=2, n_jobs=n_jobs, return_train_score=True)
        search.fit(*pairs)
        columns = [key for key in search.cv_results_ if key.endswith("_score")]
        return np.array([search.cv_results_[key] for key in columns])

    serial = scores(n_jobs=None)
    assert len(np.unique(serial[0])) > 1
    np.testing.assert_array_equal(scores(), serial, "processes")
    with joblib.parallel_config(backend="threading"):
        np.testing.assert_array_equal(scores(), serial, "threads")
    with joblib.parallel_config(backend="dask"):
        np.testing.assert_array_equal(scores(), serial, "dask")


def test_workers_do_not_oversubscribe(pairs, monkeypatch):
    """Inside fit and predict torch and the linear algebra have one thread each."""
    from threadpoolctl import threadpool_info

    from skinvbayes.inference import trained_map
    from skinvbayes.training import stages

    seen = []

    def spy(function):
        def watched(*args, **kwargs):
            pools = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
            seen.append(max([torch.get_num_threads(), *pools]))
            return function(*args, **kwargs)

        return watched

    monkeypatch.setattr(stages, "minimize", spy(stages.minimize))
    monkeypatch.setattr(trained_map, "invert", spy(trained_map.invert))
    before = torch.get_num_threads()
    DivergenceRegularizedINN(max_iter=2).fit(*pairs).predict(pairs[1])
    assert seen == [1, 1]
    assert torch.get_num_threads() == before


# ------------------------------------------------------------------------------------- scorers


@pytest.fixture(scope="module")
def noisy():
    train, test = (make_bimodal(400, noise_level=0.4, random_state=seed) for seed in (0, 1))
    return train.X, train.Y, test.X, test.Y


GRID = {"epsilon": [0.0, 0.16, 1.2]}


def test_the_trap_of_predict_scorers(noisy):
    """``scoring="r2"`` compares predict(X) with Y, without an error as m = d."""
    X, Y, X_test, Y_test = noisy
    estimator = DivergenceRegularizedINN(max_iter=15, random_state=0)

    def search(scoring):
        found = GridSearchCV(estimator, GRID, cv=2, scoring=scoring).fit(X, Y)
        return found.best_params_["epsilon"], found.best_estimator_.score(X_test, Y_test)

    right, right_score = search(None)
    same, same_score = search(reconstruction_scorer("r2"))
    trapped, trapped_score = search("r2")
    assert right == same == 0.16
    assert right_score == same_score
    assert trapped == 0.0
    assert trapped_score < right_score - 0.05


def test_scorer_is_the_metric_of_the_reconstruction(noisy):
    X, Y, X_test, Y_test = noisy
    estimator = DivergenceRegularizedINN(max_iter=10, random_state=0).fit(X, Y)
    found = estimator.predict(Y_test)
    named = reconstruction_scorer("neg_mean_absolute_error")
    loss = reconstruction_scorer(mean_absolute_error, greater_is_better=False)
    gain = reconstruction_scorer(mean_absolute_error)
    weighted = reconstruction_scorer(r2_score, multioutput="variance_weighted")
    error = mean_absolute_error(X_test, found)
    assert -named(estimator, X_test, Y_test) == -loss(estimator, X_test, Y_test) == error
    assert gain(estimator, X_test, Y_test) == error
    assert weighted(estimator, X_test, Y_test) == estimator.score(X_test, Y_test)
    assert "mean_absolute_error" in repr(loss)
    assert pickle.loads(pickle.dumps(loss))(estimator, X_test, Y_test) == -error


def test_scorer_weights_samples(noisy):
    X, Y, *_ = noisy
    estimator = DivergenceRegularizedINN(max_iter=4, random_state=0).fit(X, Y)
    weight = np.arange(len(X)) < 20
    scorer = reconstruction_scorer("r2")
    few = scorer(estimator, X[:20], Y[:20])  # a first guess of the inverse depends on all rows
    assert scorer(estimator, X, Y, sample_weight=weight) == pytest.approx(few, rel=1e-12)
    with sklearn.config_context(enable_metadata_routing=True):
        asked = reconstruction_scorer("r2").set_score_request(sample_weight=True)
        estimator.set_fit_request(sample_weight=False)
        options = {"params": {"sample_weight": np.linspace(0, 1, len(X))}, "cv": 2}
        first = cross_validate(estimator, X, Y, scoring=asked, **options)
        second = cross_validate(estimator, X, Y, scoring=scorer, cv=2)
    assert first["test_score"][0] != second["test_score"][0]


def test_search_weights_its_scores(noisy):
    """As with scikit-learn's scorers: the weights of a search are those of its scores."""
    X, Y, *_ = noisy
    weight = (X[:, 0] > 0).astype(float)
    estimator = DivergenceRegularizedINN(max_iter=4, random_state=0)
    options = {"param_grid": {"epsilon": [0.16]}, "cv": 2}
    default = GridSearchCV(estimator, **options).fit(X, Y, sample_weight=weight)
    scoring = reconstruction_scorer(r2_score, multioutput="variance_weighted")
    named = GridSearchCV(estimator, scoring=scoring, **options).fit(X, Y, sample_weight=weight)
    only = GridSearchCV(estimator, **options).fit(X[weight > 0], Y[weight > 0])
    assert default.best_score_ == named.best_score_
    assert default.best_score_ == pytest.approx(only.best_score_, abs=0.03)
    plain = GridSearchCV(estimator, **options).fit(X, Y)
    assert default.best_score_ != plain.best_score_


def test_several_scorers_at_once(noisy):
    X, Y, *_ = noisy
    scoring = {
        "r2": reconstruction_scorer("r2"),
        "rmse": reconstruction_scorer("neg_root_mean_squared_error"),
    }
    found = cross_validate(ReconstructionINN(max_iter=4), X, Y, scoring=scoring, cv=2)
    assert (found["test_r2"] > 0.5).all()
    assert (found["test_rmse"] < 0).all()


def test_scorer_of_a_pipeline_reconstructs_in_the_units_of_the_signals(noisy):
    X, Y, X_test, Y_test = noisy
    pipeline = make_pipeline(StandardScaler(), DivergenceRegularizedINN(max_iter=10))
    pipeline.fit([100, 0.1] * X, Y)
    scorer = reconstruction_scorer(mean_absolute_error, multioutput=[0.0, 1.0])
    assert scorer(pipeline, [100, 0.1] * X_test, Y_test) < 0.1 * 0.5


def test_scorer_refuses_regressors(noisy):
    X, Y, *_ = noisy
    regressor = Reconstructor(DivergenceRegularizedINN(max_iter=2)).fit(Y, X)
    with pytest.raises(ValueError, match="use scikit-learn's own scorers with it"):
        reconstruction_scorer()(regressor, Y, X)


def test_bad_metrics():
    with pytest.raises(TypeError, match="metric must be a name or a callable; got 3"):
        reconstruction_scorer(3)
    with pytest.raises(ValueError, match="R2"):
        reconstruction_scorer("R2")


def test_cross_val_score_by_default(noisy):
    X, Y, *_ = noisy
    assert cross_val_score(DivergenceRegularizedINN(max_iter=10), X, Y, cv=3).min() > 0.5
