"""Early stopping with validation pairs of its own, and with groups that stay together."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import every
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.datasets import make_bimodal
from skinvbayes.training.set_aside import SetAside

EARLY = {"early_stopping": True, "max_iter": 12, "random_state": 0, "solver": "adam"}


@pytest.fixture(scope="module")
def others():
    data = make_bimodal(80, noise_level=0.3, random_state=5)
    return data.X, data.Y


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@every
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_all_pairs_train_and_the_others_validate(cls, solver, pairs, others):
    X_val, y_val = others
    options = EARLY | {"solver": solver}
    estimator = cls(**options).fit(*pairs, X_val=X_val, y_val=y_val)
    assert len(estimator.validation_loss_curve_) == estimator.n_iter_
    # a part of the pairs is not set aside, and the problem is told by the training pairs alone
    whole = cls(**EARLY | {"early_stopping": False}).fit(*pairs)
    assert estimator.noise_level_ == whole.noise_level_
    bad = cls(**options).fit(*pairs, X_val=X_val, y_val=y_val[::-1])
    assert min(bad.validation_loss_curve_) > min(estimator.validation_loss_curve_)
    again = cls(**options).fit(*pairs, X_val=np.vstack([X_val] * 2), y_val=np.vstack([y_val] * 2))
    np.testing.assert_array_equal(again.predict(y_val), estimator.predict(y_val))


def test_weights_of_validation_pairs_count(pairs, others):
    X_val, y_val = others
    keep = np.arange(80) < 40
    estimator = DivergenceRegularizedINN(**EARLY)
    few = estimator.fit(*pairs, X_val=X_val[keep], y_val=y_val[keep]).validation_loss_curve_
    estimator.fit(*pairs, X_val=X_val, y_val=y_val, sample_weight_val=1e-9 * keep)
    np.testing.assert_allclose(estimator.validation_loss_curve_, few, rtol=1e-6)


def test_validation_of_a_reconstruction_sees_noise(pairs, others):
    """It was judged by measurements without noise, whose loss is a third of that."""
    estimator = ReconstructionINN(**EARLY).fit(*pairs)
    assert estimator.validation_loss_curve_[-1] > 0.7 * estimator.loss_curve_[-1]
    estimator.fit(*pairs, X_val=others[0], y_val=others[1])
    assert estimator.validation_loss_curve_[-1] > 0.7 * estimator.loss_curve_[-1]


def test_missing_and_drawn_validation_measurements(pairs, others):
    X_val, y_val = others
    holes = np.where(np.arange(160).reshape(80, 2) % 5 == 0, np.nan, y_val)
    estimator = DivergenceRegularizedINN(operator=np.eye(2), noise_level=0.3, **EARLY)
    estimator.fit(*pairs, X_val=X_val, y_val=holes)
    assert np.isfinite(estimator.validation_loss_curve_).all()
    assert np.isfinite(estimator.fit(pairs[0], X_val=X_val).validation_loss_curve_).all()


def test_what_does_not_fit_is_refused(pairs, others):
    X_val, y_val = others
    estimator = DivergenceRegularizedINN(**EARLY)

    def refused(match, **given):
        with pytest.raises(ValueError, match=match):
            estimator.fit(*pairs, **given)

    refused("y_val is not: give it", X_val=X_val)
    refused("X_val is not: give it", y_val=y_val)
    refused("X_val, y_val.*3 features", X_val=np.ones((80, 3)), y_val=y_val)
    refused("X_val, y_val.*1 measurements", X_val=X_val, y_val=y_val[:, :1])
    refused("X_val, y_val.*inconsistent", X_val=X_val[:3], y_val=y_val)
    refused("X_val, y_val.*NaN", X_val=X_val, y_val=np.full_like(y_val, np.nan))
    refused("X_val, y_val.*size", X_val=1e200 * X_val, y_val=y_val)
    refused("zero", X_val=X_val, y_val=y_val, sample_weight_val=np.zeros(80))
    refused("Both X_val and groups", X_val=X_val, y_val=y_val, groups=np.arange(300) % 3)
    refused("one group", groups=np.zeros(300))
    refused("inconsistent", groups=np.zeros(3))
    estimator.set_params(early_stopping=False)
    refused("set early_stopping=True", X_val=X_val, y_val=y_val)


def test_names_of_validation_pairs_are_checked(pairs, others):
    X, Y = (pd.DataFrame(part, columns=list("ab")) for part in pairs)
    X_val, y_val = (pd.DataFrame(part, columns=list("ab")) for part in others)
    estimator = DivergenceRegularizedINN(**EARLY).fit(X, Y, X_val=X_val, y_val=y_val)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.fit(X, Y, X_val=X_val[["b", "a"]], y_val=y_val)
    with pytest.raises(ValueError, match="measurement names should match"):
        estimator.fit(X, Y, X_val=X_val, y_val=y_val[["b", "a"]])


# -------------------------------------------------------------------------------------- groups


def test_groups_stay_together(rng):
    groups = rng.randint(0, 20, 300)
    kept, held = SetAside(groups=groups).split(300, 0.2, rng)
    assert len(kept) + len(held) == 300 and 0 < len(held) < 150
    assert not set(groups[kept]) & set(groups[held])
    kept, held = SetAside(groups=groups % 2).split(300, 3, rng)  # one group at least
    assert set(groups[held] % 2) ^ set(groups[kept] % 2) == {0, 1}


def test_repeated_signals_without_groups_are_told(rng):
    """But not signals of few values, or few signals, which are the distribution itself."""
    estimator = DivergenceRegularizedINN(operator=np.eye(3), max_iter=2, random_state=0)
    which = rng.randint(0, 40, 120)
    X = rng.standard_normal((40, 3))[which]
    Y = X + 0.3 * rng.standard_normal(X.shape)
    message = "have only .* different signals"
    with pytest.warns(UserWarning, match=message):
        estimator.fit(X, Y)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{message}")
        estimator.fit(X, Y, groups=which)
        for signals in np.sign(X), X[which % 7], np.round(2 * X):
            estimator.fit(signals, signals + 0.3 * rng.standard_normal(X.shape))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_repeated_signals_do_not_tell_on_both_sides(early_stopping, rng, monkeypatch):
    """Also the trial before training, which sets pairs aside without early stopping."""
    X, groups = rng.standard_normal((15, 2)).repeat(8, axis=0), np.arange(15).repeat(8)
    Y = X + 0.3 * rng.standard_normal(X.shape)
    order, splits = rng.permutation(120), []

    def noted(self, *args):
        kept, held = split(self, *args)
        splits.append((self.groups[kept], self.groups[held]))
        return kept, held

    split = SetAside.split
    monkeypatch.setattr(SetAside, "split", noted)
    names = np.array([f"patient {k}" for k in groups])[order]
    estimator = DivergenceRegularizedINN(**EARLY | {"early_stopping": early_stopping})
    estimator.fit(X[order], Y[order], groups=names)
    (kept, held) = splits[0]
    assert len(held) % 8 == 0 and len(np.unique(held)) == len(held) // 8
    assert not set(kept) & set(held)


# ------------------------------------------------------- searches, pipelines and Reconstructor


def test_through_a_search_and_a_pipeline(routing, pairs, others):
    X_val, y_val = others
    estimator = DivergenceRegularizedINN(**EARLY).set_fit_request(X_val=True, y_val=True)
    search = GridSearchCV(estimator, {"epsilon": [0.05, 0.1]}, cv=2)
    search.fit(*pairs, X_val=X_val, y_val=y_val)
    epsilon = search.best_params_["epsilon"]
    plain = DivergenceRegularizedINN(epsilon, **EARLY).fit(*pairs, X_val=X_val, y_val=y_val)
    assert search.best_estimator_.validation_loss_curve_ == plain.validation_loss_curve_
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = make_pipeline(scaler, estimator, transform_input=["X_val"])
    pipeline.fit(*pairs, X_val=X_val, y_val=y_val)
    assert pipeline[-1].validation_loss_curve_[-1] < 1.5 * abs(pipeline[-1].loss_curve_[-1])


@pytest.mark.parametrize("routed", [False, True])
def test_reconstructor_swaps_them(routed, pairs, others):
    (X, Y), (X_val, y_val) = pairs, others
    with sklearn.config_context(enable_metadata_routing=routed):
        inner = DivergenceRegularizedINN(**EARLY)
        plain = DivergenceRegularizedINN(**EARLY).fit(X, Y, X_val=X_val, y_val=y_val)
        if routed:
            inner.set_fit_request(X_val=True, y_val=True)
        regressor = Reconstructor(inner).fit(Y, X, X_val=y_val, y_val=X_val)
        assert regressor.estimator_.validation_loss_curve_ == plain.validation_loss_curve_
        if routed:
            search = GridSearchCV(Reconstructor(inner), {"estimator__epsilon": [0.1]}, cv=2)
            search.fit(Y, X, X_val=y_val, y_val=X_val)
            assert search.best_estimator_.estimator_.validation_loss_curve_ is not None
        with pytest.raises(ValueError, match="Only one of X_val and y_val"):
            Reconstructor(inner).fit(Y, X, X_val=y_val)
        with pytest.raises(ValueError, match="3 features"):
            Reconstructor(inner).fit(Y, X, X_val=np.ones((80, 3)), y_val=X_val)


def test_reconstructor_takes_groups(pairs):
    X, Y = pairs
    groups = np.arange(300) % 30
    regressor = Reconstructor(DivergenceRegularizedINN(**EARLY)).fit(Y, X, groups=groups)
    plain = DivergenceRegularizedINN(**EARLY).fit(X, Y, groups=groups)
    assert regressor.estimator_.validation_loss_curve_ == plain.validation_loss_curve_
    plain.fit(X, Y)
    assert regressor.estimator_.validation_loss_curve_ != plain.validation_loss_curve_
