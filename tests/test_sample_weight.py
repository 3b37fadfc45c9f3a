"""Weights of the pairs: only their ratios count, and a weight is a repetition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import every
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.datasets import make_bimodal

SCALES = [1e-300, 1e-12, 1e-3, 3.0, 1e12, 1e300]
PROBLEM = make_bimodal(120, noise_level=0.3, random_state=0)
X, Y = PROBLEM.X, PROBLEM.Y
COUNTS = np.random.RandomState(0).randint(0, 4, 120)

LEARNED = ["noise_level_", "epsilon_", "prior_bandwidth_", "loss_curve_"]


def options(**more):
    return {"max_iter": 6, "random_state": 0} | more


def assert_same(estimator, other):
    np.testing.assert_array_equal(estimator.predict(Y), other.predict(Y))
    for name in [*LEARNED, "validation_loss_curve_"]:
        assert getattr(estimator, name) == getattr(other, name)


@every
@pytest.mark.parametrize(
    "more", [{}, {"operator": "estimate", "solver": "adam"}, {"early_stopping": True}]
)
def test_units_of_weights_do_not_matter(cls, more):
    """With a small sum, the noise level fell and the network was held at the linear one."""
    estimator = cls(**options(**more)).fit(X, Y, sample_weight=COUNTS)
    for scale in [1 / COUNTS.sum(), 1e-12, 1e12]:
        assert_same(cls(**options(**more)).fit(X, Y, sample_weight=scale * COUNTS), estimator)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_passes_and_scores(cls, scale):
    estimator, other = (cls(**options()).partial_fit(X, Y, w) for w in (COUNTS, scale * COUNTS))
    assert_same(estimator.partial_fit(X, Y, COUNTS), other.partial_fit(X, Y, scale * COUNTS))
    if 1e-200 < scale < 1e200:  # those of scikit-learn's metrics are not
        score = other.score(X, Y, scale * COUNTS)
        assert score == pytest.approx(estimator.score(X, Y, COUNTS), rel=1e-9)


def test_weights_are_left_as_they_are():
    weight = 3.0 * COUNTS
    DivergenceRegularizedINN(**options()).fit(X, Y, sample_weight=weight)
    np.testing.assert_array_equal(weight, 3.0 * COUNTS)


@settings(max_examples=10, deadline=None)
@given(
    scale=st.floats(1e-200, 1e200),
    counts=st.lists(st.integers(0, 5), min_size=12, max_size=12).filter(lambda c: sum(c) > 2),
    even=st.floats(0.1, 10),
)
def test_weights_are_repetitions_in_any_unit(scale, counts, even):
    """Of rows that are left out where the weight is zero, however large a single pair is."""
    estimator = DivergenceRegularizedINN(operator=np.eye(2), noise_level=even, **options())
    counts = np.tile(counts, 10)
    weighted = estimator.fit(X, Y, sample_weight=scale * counts).predict(Y)
    rows = np.repeat(np.arange(120), counts)
    np.testing.assert_array_equal(estimator.fit(X[rows], Y[rows]).predict(Y), weighted)


@every
def test_equal_weights_are_none(cls):
    plain = cls(**options()).fit(X, Y)
    assert_same(cls(**options()).fit(X, Y, sample_weight=np.full(120, 1e-6)), plain)
    assert_same(cls(**options()).fit(np.vstack([X, X]), np.vstack([Y, Y])), plain)


def test_a_negligible_weight_is_hardly_a_pair():
    """The model changes little where a pair is left out or counts next to nothing."""
    weight = np.ones(120)
    weight[:60] = 1e-9
    few = DivergenceRegularizedINN(**options()).fit(X[60:], Y[60:])
    many = DivergenceRegularizedINN(**options()).fit(X, Y, sample_weight=weight)
    assert many.noise_level_ == pytest.approx(few.noise_level_, rel=1e-3)
    weight[:60] = 1e-60  # beyond what can be told from zero
    assert_same(DivergenceRegularizedINN(**options()).fit(X, Y, sample_weight=weight), few)


def test_messages_tell_the_number_of_pairs():
    wide, rng = np.random.RandomState(0).standard_normal((10, 20)), np.random.RandomState(1)
    measured = wide[:, :4] + 0.1 * rng.standard_normal((10, 4))
    estimator = ReconstructionINN(**options())
    with pytest.warns(UserWarning, match="told from 10 pairs of signals"):
        estimator.fit(wide, measured, sample_weight=np.full(10, 0.1))
    with pytest.warns(UserWarning, match=r"from 10 pairs \(by their weights 6.76\)"):
        estimator.fit(wide, measured, sample_weight=np.r_[np.ones(9), 4])
    with pytest.raises(ValueError, match="zero"):
        estimator.fit(wide, measured, sample_weight=np.zeros(10))


def test_through_a_reconstructor():
    regressor = Reconstructor(DivergenceRegularizedINN(**options()))
    found = regressor.fit(Y, X, sample_weight=COUNTS).predict(Y)
    regressor.fit(Y, X, sample_weight=1e-9 * COUNTS)
    np.testing.assert_array_equal(regressor.predict(Y), found)
