"""The prior is learned once: other operators, other noise, and missing measurements."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import r2_score

from helpers import rmse
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.networks.gradient import GradientBlock
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.priors import GaussianMixturePrior

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling")

D, DELTA = 3, 0.2


@pytest.fixture(scope="module")
def data():
    """Two Gaussians that overlap, measured five times: every posterior has one mode."""
    rng = np.random.RandomState(3)
    prior = GaussianMixturePrior([[0.6, 0, 0], [-0.6, 0.3, 0]], [np.eye(3), np.diag([0.5, 1, 2])])
    A = rng.standard_normal((5, D)) / 2
    X, T = prior.sample(3000, random_state=0), prior.sample(500, random_state=1)
    Y, V = (x @ A.T + 0.3 + DELTA * rng.standard_normal((len(x), 5)) for x in (X, T))
    return prior, A, X, Y, T, V


@pytest.fixture(scope="module")
def fitted(data):
    _, A, X, Y, *_ = data
    return DivergenceRegularizedINN(operator=A, noise_level=DELTA, random_state=0).fit(X, Y)


@pytest.mark.parametrize("wrap", [np.asarray, csr_array, aslinearoperator])
def test_another_operator_is_almost_the_posterior_mean(wrap, data, fitted):
    prior, _, _, _, T, _ = data
    rng = np.random.RandomState(5)
    B = rng.standard_normal((2, D))
    other = fitted.adapt(operator=wrap(B), noise_level=0.3)
    V = T @ B.T + 0.3 * rng.standard_normal((len(T), 2))
    best = rmse(posterior_mean(prior, V, operator=B, noise_level=0.3), T)
    assert rmse(other.predict(V), T) < 1.03 * best
    lower, upper = other.posterior_interval(V)
    assert 0.85 < ((lower <= T) & (upper >= T)).mean() < 0.95
    explained = r2_score(T, other.predict(V), multioutput="variance_weighted")
    assert other.score(T, V) == pytest.approx(explained)
    Z = other.transform(T[:20])
    np.testing.assert_allclose(other.inverse_transform(Z), T[:20], atol=1e-7)
    np.testing.assert_allclose(other.prior_score(T), fitted.prior_score(T), atol=1e-4)
    assert other.n_measurements_in_ == 2
    assert other.noise_level_ == 0.3


def test_the_same_measurements_change_nothing(data, fitted):
    _, A, _, _, _, V = data
    np.testing.assert_allclose(fitted.adapt().predict(V), fitted.predict(V), atol=1e-7)
    shorthand = fitted.predict(V, noise_level=0.15)
    np.testing.assert_allclose(fitted.adapt(noise_level=0.15).predict(V), shorthand, atol=1e-7)
    assert fitted.operator_.shape == A.shape


def test_measurements_that_show_more_than_the_prior_are_told():
    """That of signals on a circle is smoothed, by half of the noise of a feature."""
    rng = np.random.RandomState(0)
    angle = rng.uniform(0, 2 * np.pi, 500)
    X = np.column_stack([np.cos(angle), np.sin(angle)])
    estimator = DivergenceRegularizedINN(operator=np.eye(2), noise_level=0.3, max_iter=3)
    estimator.set_params(random_state=0).fit(X, X + 0.3 * rng.standard_normal(X.shape))
    assert estimator.prior_bandwidth_ > 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.adapt(noise_level=0.2)
    for less in (
        lambda: estimator.adapt(noise_level=0.02),
        lambda: estimator.adapt(operator=10 * np.eye(2), noise_level=0.3),
        lambda: estimator.predict(X[:3], noise_level=0.02),
    ):
        with pytest.warns(UserWarning, match="The prior was smoothed by prior_bandwidth_="):
            less()


def test_levels_of_every_measurement(data, fitted):
    prior, A, _, _, T, _ = data
    levels = DELTA * np.array([0.5, 1, 2, 3, 4])
    V = T @ A.T + 0.3 + levels * np.random.RandomState(0).standard_normal((len(T), 5))
    best = rmse(posterior_mean(prior, V - 0.3, operator=A, noise_level=levels), T)
    for given in ({"noise_level": levels}, {"noise_covariance": np.diag(levels**2)}):
        assert rmse(fitted.adapt(**given).predict(V), T) < 1.03 * best


def test_an_adapted_estimator_is_stored(data, fitted):
    V = data[-1][:, :2]
    other = fitted.adapt(operator=data[1][:2])
    stored = pickle.loads(pickle.dumps(other))
    np.testing.assert_allclose(stored.predict(V), other.predict(V), atol=1e-12)


def test_an_adapted_estimator_does_not_train_on(data, fitted):
    _, _, X, Y, *_ = data
    other = fitted.adapt(operator=data[1][:2])
    with pytest.raises(ValueError, match="adapted to other measurements"):
        other.partial_fit(X, Y[:, :2])
    other.set_params(max_iter=2).fit(X, Y[:, :2])  # from the beginning it does
    other.partial_fit(X, Y[:, :2])


def test_twice_adapted(data, fitted):
    V = data[-1]
    B = data[1][:3]
    once = fitted.adapt(operator=B, noise_level=0.3)
    twice = fitted.adapt(operator=np.eye(3), noise_level=0.1).adapt(operator=B, noise_level=0.3)
    np.testing.assert_allclose(twice.predict(V[:, :3]), once.predict(V[:, :3]), atol=1e-8)


@pytest.mark.parametrize("wrap", [np.asarray, csr_array])
def test_rows_of_the_training_keep_their_constants_and_noise(wrap, data):
    _, A, X, _, T, _ = data
    rng, levels = np.random.RandomState(7), np.array([0.1, 0.4, 0.2, 0.1, 0.3])
    constant = np.array([1.0, -2.0, 0.5, 3.0, 0.0])
    Y, V = (x @ A.T + constant + levels * rng.standard_normal((len(x), 5)) for x in (X, T[:50]))
    options = {"noise_level": levels, "random_state": 0, "max_iter": 20}
    estimator = DivergenceRegularizedINN(operator=A, **options).fit(X, Y)
    kept, holes = [3, 0, 4], V.copy()
    holes[:, [1, 2]] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other, same = estimator.adapt(operator=wrap(A[kept])), estimator.adapt(operator=wrap(A))
    np.testing.assert_allclose(other.noise_std_, levels[kept])
    np.testing.assert_allclose(other.predict(V[:, kept]), estimator.predict(holes), atol=1e-8)
    np.testing.assert_allclose(same.predict(V), estimator.predict(V), atol=1e-6)


def test_measurements_that_are_repeated_have_noise_of_their_own(data):
    _, A, X, Y, _, V = data
    sigma = DELTA**2 * 0.6 ** np.abs(np.subtract.outer(range(5), range(5)))
    options = {"noise_covariance": sigma, "random_state": 0, "max_iter": 5}
    estimator = DivergenceRegularizedINN(operator=A, **options).fit(X, Y)
    other = estimator.adapt(operator=np.vstack([A, A]))
    np.testing.assert_allclose(other.noise_std_, np.full(10, DELTA))
    assert other.noise_covariance_ is None or not np.any(
        other.noise_covariance_ - np.diag(np.diag(other.noise_covariance_))
    )
    constant = estimator.problem_.measurement.offset
    np.testing.assert_array_equal(other.problem_.measurement.offset[:5], constant)


def test_the_constant_of_a_dead_row_is_known(data):
    _, A, X, Y, *_ = data
    A, Y = A.copy(), Y + 5
    A[2], Y[:, 2] = 0, 0  # its constant is exactly zero
    options = {"noise_level": DELTA, "random_state": 0, "max_iter": 5}
    estimator = DivergenceRegularizedINN(operator=A, **options).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.adapt(operator=A[[0, 2]])


def test_a_constant_that_is_not_kept_is_told(data, fitted):
    constant = fitted.problem_.measurement.offset
    assert constant.min() > DELTA
    B = np.vstack([data[1][:2], np.eye(D)])
    with pytest.warns(UserWarning, match="constant of up to 0.3.*, above their noise"):
        other = fitted.adapt(operator=B)
    found = other.problem_.measurement.offset
    np.testing.assert_array_equal(found, [*constant[:2], 0, 0, 0])


def test_where_the_map_is_not_monotone_rows_are_named():
    prior = GaussianMixturePrior([[-3.0, 0], [3.0, 0]], 0.5)
    X = prior.sample(500, random_state=0)
    Y = X + 0.3 * np.random.RandomState(0).standard_normal(X.shape)
    estimator = DivergenceRegularizedINN(operator=np.eye(2), max_iter=40, random_state=0)
    blind = estimator.fit(X, Y).adapt(operator=[[0.0, 1.0]])
    with pytest.warns(ConvergenceWarning, match="not monotone there"):
        blind.predict(np.zeros((3, 1)))


@pytest.fixture(scope="module")
def unequal_modes():
    """Three modes of unequal weights and widths, and an estimator that was fitted to them."""
    covariances = [variance * np.eye(2) for variance in (0.1, 0.5, 0.05)]
    prior = GaussianMixturePrior([[-1.5, 0.8], [1.5, -0.8], [1, 2]], covariances, [0.5, 0.2, 0.3])
    X = prior.sample(2000, random_state=0)
    Y = X + DELTA * np.random.RandomState(0).standard_normal(X.shape)
    return prior, DivergenceRegularizedINN(operator=np.eye(2), random_state=0).fit(X, Y)


@pytest.mark.filterwarnings("ignore:The inversion of")
@pytest.mark.parametrize("missing", [False, True])
def test_of_several_modes_the_most_likely(missing, unequal_modes):
    """Only the weights of the modes tell them apart, and a score between them says no weights."""
    prior, estimator = unequal_modes
    operator, T = np.array([[0.3, 1.0]]), prior.sample(300, random_state=1)
    if missing:
        operator[0, 0] = 0.0
    y = T @ operator.T + DELTA * np.random.RandomState(1).standard_normal((300, 1))
    best = map_estimate(prior, y, operator=operator, noise_level=estimator.noise_level_)
    if missing:
        found = estimator.predict(np.column_stack([np.full(300, np.nan), y]))
    else:
        adapted = pickle.loads(pickle.dumps(estimator)).adapt(operator=operator)
        found = adapted.predict(y)
    assert np.mean(np.linalg.norm(found - best, axis=1) < 0.5) > 0.98


# --------------------------------------------------------------------------- missing measurements


@pytest.fixture(scope="module")
def holes(data):
    """Test measurements of which a fifth is missing, with one at least in every row."""
    V = data[-1].copy()
    missing = np.random.RandomState(0).uniform(size=V.shape) < 0.2
    missing[missing.all(axis=1), 0] = False
    V[missing] = np.nan
    return V


def test_missing_measurements_are_rows_left_out(data, fitted, holes):
    A = data[1]
    before = holes.copy()
    found, std = fitted.predict(holes, return_std=True)
    np.testing.assert_array_equal(holes, before)
    covariance, samples = fitted.posterior_covariance(holes), fitted.sample_posterior(holes, 2)
    lower, _ = fitted.posterior_interval(holes)
    assert samples.shape == (len(holes), 2, D)
    for row in range(0, 40):
        kept = ~np.isnan(holes[row])
        other = fitted.adapt(operator=A[kept])
        y = holes[row : row + 1, kept]
        np.testing.assert_allclose(found[row : row + 1], other.predict(y), atol=1e-8)
        np.testing.assert_allclose(std[row : row + 1], other.posterior_std(y), atol=1e-8)
        assert np.all(lower[row] < found[row])
    np.testing.assert_allclose(np.sqrt(covariance.diagonal(0, 1, 2)), std)


@pytest.mark.parametrize("kind", ["unequal", "correlated", "mlp"])
def test_noise_of_any_kind_where_measurements_are_missing(kind, data, holes):
    _, A, X, Y, *_ = data
    levels = DELTA * np.linspace(0.5, 1.5, 5)
    sigma = np.outer(levels, levels) * 0.6 ** np.abs(np.subtract.outer(range(5), range(5)))
    sigma = sigma if kind == "correlated" else np.diag(levels**2)
    residual = "mlp" if kind == "mlp" else "gradient"
    options = {"operator": A, "noise_covariance": sigma, "random_state": 0, "max_iter": 20}
    estimator = DivergenceRegularizedINN(residual=residual, **options).fit(X, Y)
    found, std = estimator.predict(holes[:20], return_std=True)
    for row, y in enumerate(holes[:20]):
        kept = ~np.isnan(y)
        other, y = estimator.adapt(operator=A[kept]), y[None, kept]
        given = estimator.adapt(operator=A[kept], noise_covariance=sigma[np.ix_(kept, kept)])
        np.testing.assert_allclose(given.predict(y), other.predict(y), atol=1e-12)
        np.testing.assert_allclose(found[row : row + 1], other.predict(y), atol=1e-9)
        np.testing.assert_allclose(std[row : row + 1], other.posterior_std(y), atol=1e-9)


@pytest.mark.parametrize("most_features", [269, 1000], ids=["without matrices", "with matrices"])
def test_missing_measurements_of_many_features(most_features, monkeypatch):
    monkeypatch.setattr(GradientBlock, "most_features_of_matrices", most_features)
    monkeypatch.setattr("skinvbayes.operators.linear.MATRIX_FEATURES", most_features)
    rng = np.random.default_rng(0)
    A = rng.standard_normal((40, 270)) / 10
    X = rng.standard_normal((60, 10)) @ rng.standard_normal((10, 270))
    estimator = DivergenceRegularizedINN(
        operator=aslinearoperator(A), noise_level=0.5, max_iter=2, random_state=0
    ).fit(X)
    Y = X[:2] @ A.T
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    probing = {"method": "probing", "random_state": 0}
    found, std = estimator.predict(Y), estimator.posterior_std(Y, **probing)
    for row, y in enumerate(Y):
        kept = ~np.isnan(y)
        other = estimator.adapt(operator=aslinearoperator(A[kept]))
        y = y[None, kept] - estimator.problem_.measurement.predicted(np.zeros((1, 270)))[:, kept]
        np.testing.assert_allclose(found[row], other.predict(y)[0], atol=1e-5 * np.abs(X).max())
        np.testing.assert_allclose(std[row], other.posterior_std(y, **probing)[0], rtol=1e-3)
        dense = other.posterior_std(y, method="dense")[0]
        assert np.median(np.abs(std[row] / dense - 1)) < 0.3


def test_missing_measurements_cost_no_more_than_they_must(data, fitted, holes):
    prior, A, _, _, T, _ = data
    best = np.empty_like(T)
    for row, y in enumerate(holes):
        kept = ~np.isnan(y)
        known = {"operator": A[kept], "noise_level": DELTA}
        best[row] = posterior_mean(prior, y[None, kept] - 0.3, **known)[0]
    assert rmse(fitted.predict(holes), T) < 1.03 * rmse(best, T)
    assert fitted.score(T, holes) > 0.5


@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_training_measurements_may_be_missing(cls, data):
    _, A, X, Y, T, V = data
    spoilt = Y.copy()
    spoilt[np.random.RandomState(1).uniform(size=Y.shape) < 0.1] = np.nan
    before = spoilt.copy()
    options = {"operator": A, "random_state": 0, "max_iter": 15}
    estimator = cls(**options).fit(X, spoilt)
    np.testing.assert_array_equal(spoilt, before)
    complete = cls(**options).fit(X, Y)
    assert estimator.noise_level_ == pytest.approx(DELTA, rel=0.03)
    assert rmse(estimator.predict(V), T) < 1.01 * rmse(complete.predict(V), T)
    estimator.partial_fit(X, spoilt)
    assert np.isfinite(estimator.predict(V)).all()


@pytest.mark.parametrize("given", [True, False])
def test_missing_measurements_keep_the_noise_correlated(given, data):
    _, A, X, *_ = data
    covariance = 0.04 * 0.95 ** np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    rng = np.random.RandomState(2)
    Y = X @ A.T + rng.standard_normal((len(X), 5)) @ np.linalg.cholesky(covariance).T
    missing = rng.uniform(size=Y.shape) < 0.2
    missing[missing.all(axis=1), 0] = False
    Y[missing] = np.nan
    known = {"noise_covariance": covariance} if given else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing drawn is an outlier
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        warnings.filterwarnings("ignore", message="On pairs that were held out")
        estimator = DivergenceRegularizedINN(operator=A, max_iter=10, random_state=0, **known)
        estimator.fit(X, Y)
    np.testing.assert_allclose(estimator.noise_covariance_, covariance, atol=0.004)


def test_a_noise_level_counts_for_rows_with_holes_too(data, fitted, holes):
    unequal = fitted.adapt(noise_level=DELTA * np.array([0.5, 1, 2, 3, 4]))
    expected = unequal.predict(holes[:40])
    found = unequal.predict(holes[:40], noise_level=unequal.noise_level_)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_chosen_epsilon_is_kept(data):
    _, A, X, _, _, V = data
    A, rng = np.vstack([A, np.zeros(D)]), np.random.RandomState(0)
    Y = X @ A.T + DELTA * rng.standard_normal((len(X), 6))
    estimator = DivergenceRegularizedINN(operator=A, epsilon=0.3, max_iter=20, random_state=0)
    estimator.fit(X, Y)
    whole = np.hstack([V[:30], np.zeros((30, 1))])
    holes = np.hstack([V[:30], np.full((30, 1), np.nan)])  # of a reading that tells nothing
    np.testing.assert_allclose(estimator.predict(holes), estimator.predict(whole), atol=1e-6)
    assert estimator.adapt().epsilon_ == pytest.approx(0.3)


def test_what_cannot_be_left_out_is_told(data, fitted, holes):
    _, A, X, Y, T, V = data
    missing = np.where(np.arange(Y.size).reshape(Y.shape) % 7 == 0, np.nan, Y)
    with pytest.raises(ValueError, match="Only with an operator that is given"):
        DivergenceRegularizedINN(operator="estimate", max_iter=2).fit(X, missing)
    with pytest.raises(ValueError, match="all measurements of 1 row"):
        fitted.predict(np.vstack([V[:2], np.full((1, 5), np.nan)]))
    dead = Y.copy()
    dead[:, 2] = np.nan
    with pytest.raises(ValueError, match="Measurement 2 is missing"):
        DivergenceRegularizedINN(operator=A, max_iter=2).fit(X, dead)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = ReconstructionINN(operator=A, max_iter=2, random_state=0).fit(X, Y)
    for call in (other.predict, other.posterior_std, lambda Y: other.score(T, Y)):
        with pytest.raises(ValueError, match="y contains NaN.*Only DivergenceRegularizedINN reads"):
            call(holes)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"operator": np.eye(2)}, "operator of shape"),
        ({"operator": "estimate"}, "operator"),
        ({"noise_level": 0.0}, "noise_level must be a positive number"),
        ({"noise_level": -1.0}, "negative"),
        ({"noise_level": [0.1, 0.2]}, "noise_level has shape"),
        ({"noise_covariance": np.eye(2)}, "noise_covariance has shape"),
        ({"noise_level": 0.1, "noise_covariance": np.eye(5)}, "either"),
    ],
)
def test_measurements_that_do_not_fit_are_refused(parameters, message, fitted):
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.adapt(**parameters)


def test_adapt_needs_an_operator_and_a_fit(data):
    _, _, X, *_ = data
    with pytest.raises(NotFittedError):
        DivergenceRegularizedINN().adapt()
    original = DivergenceRegularizedINN(noise_level=0.1, max_iter=2, random_state=0)
    original.fit(X, X + 0.1)
    with pytest.raises(ValueError, match="without an operator"):
        original.adapt(noise_level=0.1)
    original.adapt(operator=np.eye(3), noise_level=0.1).predict(X[:3])
    with pytest.raises(ValueError, match="without an operator"):
        original.predict([[0.0, np.nan, 1.0]])


@pytest.mark.parametrize("cls", [ApproximationINN, LogDetRegularizedINN, ReconstructionINN])
def test_other_losses_say_why_they_cannot(cls, data):
    _, A, X, Y, *_ = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = cls(operator=A, max_iter=2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="not the prior by itself.*DivergenceRegularizedINN"):
        estimator.adapt(noise_level=0.3)


# ------------------------------------------------------------------- a parameter that was changed


@pytest.mark.parametrize("method", ["predict", "transform", "inverse_transform", "partial_fit"])
def test_a_changed_operator_is_refused(method, data, fitted):
    _, A, X, Y, _, V = data
    changed = copy.deepcopy(fitted).set_params(operator=A + 0.1)
    inputs = {"predict": (V,), "partial_fit": (X, Y)}.get(method, (X[:, :3],))
    with pytest.raises(ValueError, match="operator .*changed.*adapt"):
        getattr(changed, method)(*inputs)
    changed.set_params(operator=A.copy()).predict(V[:2])
    changed.set_params(operator=A + 0.1, max_iter=2).fit(X, Y).predict(V[:2])


def test_an_adapted_estimator_may_be_stored_and_copied(data, fitted):
    _, A, *_, V = data
    adapted = fitted.adapt(operator=2 * A, noise_level=0.2)
    for again in (copy.deepcopy(adapted), pickle.loads(pickle.dumps(adapted))):
        np.testing.assert_array_equal(again.predict(V[:3]), adapted.predict(V[:3]))
