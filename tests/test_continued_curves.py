"""The curves of trainings that go on, and pairs that tell little of a problem."""

import numpy as np
import pytest

from helpers import every
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.plotting import LossCurveDisplay

EARLY = {"max_iter": 4, "early_stopping": True, "random_state": 0}


def test_iterations_without_validation_have_none(pairs):
    estimator = DivergenceRegularizedINN(**EARLY).fit(*pairs)
    n_judged = estimator.n_iter_
    estimator.partial_fit(*pairs)
    curve = np.array(estimator.validation_loss_curve_)
    assert len(curve) == len(estimator.loss_curve_) == n_judged + 1
    np.testing.assert_array_equal(np.isnan(curve), np.arange(n_judged + 1) == n_judged)
    LossCurveDisplay.from_estimator(estimator)


def test_early_stopping_that_is_turned_on_or_off(pairs):
    estimator = DivergenceRegularizedINN(warm_start=True, **EARLY).fit(*pairs)
    estimator.set_params(early_stopping=False).fit(*pairs)
    assert estimator.validation_loss_curve_ is None
    n_before = estimator.n_iter_
    estimator.set_params(early_stopping=True).fit(*pairs)
    assert np.isnan(estimator.validation_loss_curve_).sum() == n_before
    LossCurveDisplay.from_estimator(estimator)


@pytest.mark.parametrize("shape", [(4, 5), (6, 10), (10, 20), (15, 30)])
@every
@pytest.mark.filterwarnings("ignore")
def test_fewer_pairs_than_features(cls, shape):
    """Every operator fits them: the noise is taken to be small, but not nothing."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal(shape)
    Y = X + 0.2 * rng.standard_normal(shape)
    estimator = cls(max_iter=3, random_state=0).fit(X, Y)
    assert 1e-4 < estimator.noise_level_ < 0.1
    assert np.isfinite(estimator.predict(Y)).all()
    assert estimator.score(X, Y) > 0.5


@every
@pytest.mark.filterwarnings("ignore")
def test_measurements_that_fall_with_the_signals(cls):
    for n in range(2, 9):
        X = np.arange(float(n))[:, None]
        estimator = cls(max_iter=3, random_state=0).fit(X, -X + 0.1 * X % 0.07)
        assert np.isfinite(estimator.predict(-X)).all()


@every
@pytest.mark.parametrize("n", [3, 50])
def test_measurements_that_are_all_the_same(cls, n):
    X = np.random.RandomState(0).standard_normal((n, 2))
    with pytest.raises(ValueError, match="measurements y of the .* are all the same"):
        cls(max_iter=3).fit(X, np.ones((n, 2)))


def test_groups_of_two_columns(pairs):
    groups = np.zeros((300, 2), dtype=int)
    with pytest.raises(ValueError, match=r"groups must be of shape \(n_samples,\)"):
        DivergenceRegularizedINN(**EARLY).fit(*pairs, groups=groups)


def test_nothing_to_fit():
    with pytest.raises(ValueError):
        ReconstructionINN().fit(None)
    with pytest.raises(ValueError):
        Reconstructor().fit(None, None)
