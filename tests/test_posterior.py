"""Posterior uncertainty against closed forms, and what is said where it cannot be trusted."""

import warnings

import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import ALL, every, rmse
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)
from skinvbayes.datasets import load_deblurring_digits, make_bimodal
from skinvbayes.operators import as_operator
from skinvbayes.oracles import map_estimate, posterior_covariance, posterior_mean
from skinvbayes.priors import EmpiricalPrior, GaussianMixturePrior
from skinvbayes.problem.error_model import ErrorModel

SQUARE = np.array([[1.0, 0.2], [0.1, 0.5]])


def exact_std(prior, Y, **known):
    return np.sqrt(np.diagonal(posterior_covariance(prior, Y, **known), axis1=1, axis2=2))


@pytest.fixture(scope="module")
def bimodal():
    """The estimators on 4,000 pairs; only when they are asked for."""
    fitted = {}

    def fit(cls, noise_level=0.3, operator=None):
        key = cls, noise_level, None if operator is None else operator.tobytes()
        if key not in fitted:
            known = {"noise_level": noise_level, "operator": operator}
            train = make_bimodal(4000, random_state=0, **known)
            n_iter = 100 if cls is DivergenceRegularizedINN else 30
            estimator = cls(operator=operator, max_iter=n_iter, random_state=0)
            fitted[key] = estimator.fit(train.X, train.Y)
        return fitted[key]

    return fit


@pytest.fixture(scope="module")
def digits():
    """A network of 64 features on 1,000 digits, the prior smoothed."""
    data = load_deblurring_digits()
    data.X_train, data.Y_train = data.X_train[:1000], data.Y_train[:1000]
    options = {"hidden_layer_sizes": 128, "max_iter": 60, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=data.operator, **options)
    return data, estimator.fit(data.X_train, data.Y_train)


# ------------------------------------------------------------------------------ the closed forms


@pytest.mark.parametrize(
    ("cls", "tolerance"),
    [(ReconstructionINN, 0.03), (DivergenceRegularizedINN, 0.03), (LogDetRegularizedINN, 0.12)],
)
@pytest.mark.parametrize("operator", [None, SQUARE], ids=["I", "A"])
def test_standard_deviation_of_two_modes(cls, tolerance, operator, bimodal):
    known = {"operator": operator, "noise_level": 0.3}
    test = make_bimodal(500, random_state=1, **known)
    found, std = bimodal(cls, operator=operator).predict(test.Y, return_std=True)
    exact = exact_std(test.prior, test.Y, **known)
    assert np.median(np.abs(std / exact - 1)) < tolerance
    np.testing.assert_array_equal(found, bimodal(cls, operator=operator).predict(test.Y))


def test_original_problem_with_an_operator(bimodal):
    """Without an operator given, y = A x needs the factor of the estimated A."""
    train, test = (
        make_bimodal(n, operator=SQUARE, noise_level=0.3, random_state=s)
        for n, s in ((4000, 0), (500, 1))
    )
    estimator = ReconstructionINN(max_iter=30, random_state=0).fit(train.X, train.Y)
    exact = posterior_covariance(test.prior, test.Y, operator=SQUARE, noise_level=0.3)
    found = estimator.posterior_covariance(test.Y)
    error = np.linalg.norm(found - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert np.median(error) < 0.075


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_covariance_of_a_gaussian(cls):
    rng = np.random.RandomState(0)
    A, root = rng.standard_normal((9, 6)) / 3, rng.standard_normal((6, 6)) / 2
    prior = GaussianMixturePrior([np.zeros(6)], root @ root.T + 0.1 * np.eye(6))
    X, X_new = prior.sample(4000, rng), prior.sample(50, rng)
    Y, Y_new = (x @ A.T + 0.3 * rng.standard_normal((len(x), 9)) for x in (X, X_new))
    estimator = cls(operator=A, max_iter=20, random_state=0).fit(X, Y)
    exact = posterior_covariance(prior, Y_new, operator=A, noise_level=0.3)
    found = estimator.posterior_covariance(Y_new)
    error = np.linalg.norm(found - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert error.mean() < 0.05
    samples = estimator.sample_posterior(Y_new[:3], 20_000, random_state=1)
    assert samples.shape == (3, 20_000, 6)
    for drawn, S, mean in zip(samples, found[:3], estimator.predict(Y_new[:3]), strict=True):
        assert np.linalg.norm(np.cov(drawn.T) - S) < 0.03 * np.linalg.norm(S)
        assert (np.abs(drawn.mean(0) - mean) < 5 * np.sqrt(np.diag(S) / 20_000)).all()


def test_approximation_loss_propagates_the_noise():
    data = make_bimodal(4000, operator=SQUARE, noise_level=0.1, random_state=0)
    estimator = ApproximationINN(operator=SQUARE, max_iter=30, random_state=0).fit(data.X, data.Y)
    propagated = 0.1**2 * np.linalg.inv(SQUARE.T @ SQUARE)
    found = estimator.posterior_covariance(data.Y[:100])
    np.testing.assert_allclose(found.mean(axis=0), propagated, rtol=0.1)


def test_intervals_cover(bimodal):
    test = make_bimodal(20_000, noise_level=0.3, random_state=1)
    estimator = bimodal(ReconstructionINN)
    mean = posterior_mean(test.prior, test.Y, noise_level=0.3)
    std = exact_std(test.prior, test.Y, noise_level=0.3)
    for coverage in (0.5, 0.8, 0.9, 0.95):
        lower, upper = estimator.posterior_interval(test.Y, coverage)
        found = ((lower <= test.X) & (upper >= test.X)).mean()
        exact = (np.abs(test.X - mean) <= norm.ppf((1 + coverage) / 2) * std).mean()
        assert abs(found - exact) < 0.015


def test_digits_beat_the_posterior_mean_over_the_training_set(digits):
    data, estimator = digits
    known = {"operator": data.operator, "noise_level": data.noise_level}
    mean = posterior_mean(EmpiricalPrior(data.X_train), data.Y_test, **known)
    assert rmse(estimator.predict(data.Y_test), data.X_test) < 0.97 * rmse(mean, data.X_test)


def test_digits_are_calibrated(digits):
    """Over the pixels that vary; the smoothing of the prior is accounted for."""
    data, estimator = digits
    assert estimator.prior_bandwidth_ > 0
    vary = data.X_train.std(axis=0) > 0.05
    found, std = (part[:, vary] for part in estimator.predict(data.Y_test, return_std=True))
    error = np.abs(found - data.X_test[:, vary])
    assert 0.85 < (error <= norm.ppf(0.95) * std).mean() < 0.95
    assert spearmanr(error, std, axis=None)[0] > 0.4


def test_smoothing_is_taken_out_exactly_for_a_gaussian(rng):
    """δ² P⁻¹ − b² R Rᵀ is the covariance of the estimate's error, of the jitter and the noise."""
    root, A = rng.standard_normal((2, 4, 4)) / 2
    C, G, noise, bandwidth = root @ root.T + 0.1 * np.eye(4), A.T @ A, 0.3, 0.2
    J = G + noise**2 * np.linalg.inv(C + bandwidth**2 * np.eye(4))  # φ for the smoothed prior
    gain = np.linalg.inv(J)
    missing = np.eye(4) - gain @ G
    exact = missing @ C @ missing.T + noise**2 * gain @ G @ gain.T  # of gain Aᵀ(A x + n) − x
    model = ErrorModel(None, as_operator(G), noise, bandwidth)
    found, indefinite = model.covariance(J[None])
    np.testing.assert_allclose(found[0], exact, rtol=1e-9)
    assert not indefinite.any()


def test_smoothing_is_taken_out():
    """What the jitter of the training adds to the covariance is subtracted."""
    data = load_deblurring_digits()
    known = {"operator": data.operator, "noise_level": data.noise_level}
    estimator = ReconstructionINN(**known, max_iter=4, random_state=0)
    estimator.fit(data.X_train[:200], data.Y_train[:200])
    Y, G = data.Y_test[:3], data.operator.T @ data.operator
    model = ErrorModel(None, as_operator(G), data.noise_level, estimator.prior_bandwidth_)
    assert estimator.prior_bandwidth_ > 0
    exact, _ = model.covariance(estimator.jacobian(estimator.predict(Y)))
    np.testing.assert_allclose(estimator.posterior_covariance(Y), exact, rtol=1e-4, atol=1e-9)


# ------------------------------------------------------------------------------- positive, always


@every
@pytest.mark.parametrize("noise_level", [0.1, 0.6])
def test_symmetric_positive_definite(cls, noise_level):
    data = make_bimodal(400, operator=SQUARE, noise_level=noise_level, random_state=0)
    estimator = cls(operator=SQUARE, max_iter=10, random_state=0).fit(data.X, data.Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*exceed those of the signals")
        S = estimator.posterior_covariance(np.vstack([data.Y, 10 * data.Y]))
    np.testing.assert_array_equal(S, S.transpose(0, 2, 1).copy())
    assert np.linalg.eigvalsh(S).min() > 0


def test_digits_are_positive_definite(digits):
    data, estimator = digits
    S = estimator.posterior_covariance(data.Y_test)
    assert np.linalg.eigvalsh(S).min() > 0
    np.testing.assert_allclose(S, S.transpose(0, 2, 1), atol=1e-12)


def test_indefinite_jacobians_are_said():
    model = ErrorModel(None, as_operator(np.eye(2)), 0.5, 0.0)
    J = np.array([[[1.0, 3.0], [-3.0, 1.0]], [[1.0, 3.0], [3.0, 1.0]]])
    S, indefinite = model.covariance(J)
    assert indefinite.tolist() == [False, True]
    assert np.linalg.eigvalsh(S).min() > 0
    np.testing.assert_allclose(S[0], 0.25 * np.eye(2))  # only the symmetric part counts


# ---------------------------------------------------------------------------- without matrices


def test_probing_agrees_with_the_dense_route(digits):
    data, estimator = digits
    Y = data.Y_test[:4]
    dense, none = estimator.posterior_std(Y, method="dense", return_error=True)
    assert (none == 0).all()
    found, error = estimator.posterior_std(Y, method="probing", n_probes=200, return_error=True)
    assert 0.75 < np.sqrt((((found - dense) / error) ** 2).mean()) < 1.3  # an honest error bar
    assert np.median(error / dense) < 0.15
    again = estimator.posterior_std(Y, method="probing", n_probes=200)
    np.testing.assert_array_equal(found, again)
    other = estimator.posterior_std(Y, method="probing", n_probes=200, random_state=1)
    assert not np.array_equal(found, other)


@pytest.mark.parametrize("operator", [None, SQUARE])
@pytest.mark.parametrize("options", [{}, {"residual": "mlp", "n_blocks": 2}], ids=["1", "mlp"])
def test_probing_without_smoothing(operator, options):
    data = make_bimodal(300, operator=operator, noise_level=0.3, random_state=0)
    estimator = ReconstructionINN(operator=operator, max_iter=10, random_state=0, **options)
    estimator.fit(data.X, data.Y)
    Y = data.Y[:10]
    dense = estimator.posterior_std(Y)
    found, error = estimator.posterior_std(Y, method="probing", n_probes=1000, return_error=True)
    assert (np.abs(found - dense) < 5 * error + 1e-6 * dense).all()


def test_samples_without_matrices(digits):
    data, estimator = digits
    Y = data.Y_test[:1]
    (S,), n = estimator.posterior_covariance(Y), 400
    errors = {}
    for method in ("dense", "probing"):
        drawn = estimator.sample_posterior(Y, n, random_state=0, method=method)[0]
        errors[method] = np.linalg.norm(np.cov(drawn.T) - S) / np.linalg.norm(S)
    assert errors["probing"] < 1.2 * errors["dense"]


def test_chunks_make_no_difference(digits, monkeypatch):
    data, estimator = digits
    Y = data.Y_test[:3]
    whole = estimator.sample_posterior(Y, 5, random_state=0, method="probing")
    std = estimator.posterior_std(Y, method="probing", n_probes=8)
    covariance = estimator.posterior_covariance(Y)
    monkeypatch.setattr("skinvbayes.numerics.chunks.BASIS_ENTRIES", 7 * 64)
    monkeypatch.setattr("skinvbayes.numerics.chunks.MOST_VECTORS", 8)
    monkeypatch.setattr("skinvbayes.numerics.chunks.MOST_ENTRIES", 64**2)
    chunked = estimator.sample_posterior(Y, 5, random_state=0, method="probing")
    np.testing.assert_allclose(chunked, whole, atol=1e-5)
    chunked = estimator.posterior_std(Y, method="probing", n_probes=8)
    np.testing.assert_allclose(chunked, std, rtol=1e-4)
    np.testing.assert_allclose(estimator.posterior_covariance(Y), covariance, rtol=1e-9, atol=1e-12)


def test_no_noise_no_uncertainty():
    data = make_bimodal(200, operator=SQUARE, noise_level=0, random_state=0)
    estimator = ReconstructionINN(operator=SQUARE, noise_level=0, max_iter=5, random_state=0)
    estimator.fit(data.X, data.Y)
    found, std = estimator.predict(data.Y, return_std=True)
    assert (std == 0).all()
    for method in ("dense", "probing"):
        samples = estimator.sample_posterior(data.Y, 2, random_state=0, method=method)
        np.testing.assert_array_equal(samples, np.repeat(found[:, None], 2, axis=1))


def test_many_features_need_no_matrices(monkeypatch, digits):
    from skinvbayes.inference import posterior

    data, estimator = digits
    monkeypatch.setattr(posterior.chunks, "MATRIX_FEATURES", 63)
    monkeypatch.setattr(ErrorModel, "covariance", None)
    found, std = estimator.predict(data.Y_test[:2], return_std=True)
    assert std.shape == found.shape == (2, 64)
    assert estimator.sample_posterior(data.Y_test[:2], 3).shape == (2, 3, 64)


# --------------------------------------------------------------------------- other noise levels


@pytest.mark.parametrize("noise_level", [0.075, 0.15, 0.225])
def test_another_noise_level(noise_level, bimodal):
    estimator = bimodal(DivergenceRegularizedINN, 0.15)
    test = make_bimodal(500, noise_level=noise_level, random_state=1)
    mean = posterior_mean(test.prior, test.Y, noise_level=noise_level)
    maximum = map_estimate(test.prior, test.Y, noise_level=noise_level)
    found, std = estimator.predict(test.Y, return_std=True, noise_level=noise_level)
    assert rmse(found, test.X) < 1.01 * rmse(mean, test.X)
    assert np.median(np.linalg.norm(found - maximum, axis=1)) < 0.02
    exact = exact_std(test.prior, test.Y, noise_level=noise_level)
    assert np.median(np.abs(std / exact - 1)) < 0.03
    lower, upper = estimator.posterior_interval(test.Y, noise_level=noise_level)
    np.testing.assert_allclose((upper + lower) / 2, found)
    np.testing.assert_allclose((upper - lower) / 2, norm.ppf(0.95) * std)


def test_the_trained_noise_level_is_no_other(bimodal):
    estimator = bimodal(DivergenceRegularizedINN, 0.15)
    Y = make_bimodal(100, noise_level=0.15, random_state=1).Y
    same = estimator.predict(Y, noise_level=np.sqrt(estimator.epsilon_))
    np.testing.assert_allclose(same, estimator.predict(Y), atol=1e-9)


def test_too_much_noise_for_a_monotone_map_is_said(bimodal):
    """Between the modes the posterior has two: the rows are named, and none has diverged."""
    estimator = bimodal(DivergenceRegularizedINN, 0.15)
    Y = np.array([[2.0, 1.0], [0.01, 0.02], [-2.0, -1.0]])
    with pytest.warns(ConvergenceWarning, match=r"1 of 3 rows.*\(rows 1\).*not monotone"):
        found = estimator.predict(Y, noise_level=0.5)
    assert np.abs(found).max() < 2.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(Y[[0, 2]], noise_level=0.5)


# ------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, LogDetRegularizedINN])
def test_epsilon_away_from_the_noise_is_said(cls):
    data = make_bimodal(300, noise_level=0.3, random_state=0)
    estimator = cls(epsilon=0.03, max_iter=5, random_state=0).fit(data.X, data.Y)
    for ask in (
        lambda: estimator.predict(data.Y, return_std=True),
        lambda: estimator.posterior_covariance(data.Y),
        lambda: estimator.sample_posterior(data.Y),
        lambda: estimator.posterior_interval(data.Y),
    ):
        with pytest.warns(UserWarning, match=r"epsilon \(0.03\) is 0.3\d+ times"):
            ask()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(data.Y)
        if cls is DivergenceRegularizedINN:
            estimator.predict(data.Y, return_std=True, noise_level=0.3)


def test_a_given_noise_level_beats_the_estimated_one(pairs):
    first = ReconstructionINN(max_iter=3, random_state=0).fit(*pairs)
    second = ReconstructionINN(max_iter=3, noise_level=0.6, random_state=0).fit(*pairs)
    ratio = second.posterior_std(pairs[1]) / first.posterior_std(pairs[1])
    assert first.noise_level_ == pytest.approx(0.3, rel=0.1)
    assert np.median(ratio) > 1.2


@every
def test_bad_requests(cls, pairs):
    X, Y = pairs
    estimator = cls(max_iter=2)
    for method in ("posterior_covariance", "posterior_std", "sample_posterior"):
        with pytest.raises(NotFittedError):
            getattr(estimator, method)(Y)
    estimator.fit(X, Y)
    with pytest.raises(ValueError, match="coverage must be"):
        estimator.posterior_interval(Y, 90)
    with pytest.raises(ValueError, match="n_samples must be"):
        estimator.sample_posterior(Y, 0)
    with pytest.raises(ValueError, match="n_probes must be"):
        estimator.posterior_std(Y, n_probes=1)
    with pytest.raises(ValueError, match="method must be"):
        estimator.posterior_std(Y, method="exact")
    with pytest.raises(ValueError, match="3 measurements"):
        estimator.posterior_covariance(np.ones((4, 3)))
    with pytest.raises(ValueError, match="NaN"):
        estimator.posterior_std([[np.nan, 0.0]])
    message = "noise_level must" if cls is DivergenceRegularizedINN else "Only Divergence"
    for noise_level in (-1.0, 0.0):
        with pytest.raises(ValueError, match=message):
            estimator.posterior_covariance(Y, noise_level=noise_level)


@pytest.mark.parametrize("cls", ALL)
def test_dtype_and_inputs(cls, pairs):
    X, Y = (part.astype(np.float32) for part in pairs)
    estimator = cls(max_iter=3, random_state=0).fit(X, Y)
    before = Y.copy()
    found, std = estimator.predict(Y, return_std=True)
    results = [
        *(found, std, *estimator.posterior_interval(Y), estimator.posterior_covariance(Y)),
        estimator.sample_posterior(Y, 2, random_state=0),
    ]
    assert {result.dtype for result in results} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(Y, before)
    first, second = (estimator.sample_posterior(Y, 2, random_state=s) for s in (0, 1))
    np.testing.assert_array_equal(first, results[-1])
    assert not np.array_equal(first, second)


def test_usual_direction(pairs):
    X, Y = pairs
    inner = DivergenceRegularizedINN(max_iter=5, random_state=0)
    regressor, estimator = Reconstructor(inner).fit(Y, X), inner.fit(X, Y)
    for found, expected in (
        (regressor.predict(Y, return_std=True), estimator.predict(Y, return_std=True)),
        (regressor.posterior_interval(Y, 0.5), estimator.posterior_interval(Y, 0.5)),
    ):
        for part, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, other)
    found, expected = (e.posterior_covariance(Y) for e in (regressor, estimator))
    np.testing.assert_array_equal(found, expected)
    found, expected = (e.sample_posterior(Y, 2, random_state=0) for e in (regressor, estimator))
    np.testing.assert_array_equal(found, expected)
    found = regressor.predict(Y, noise_level=0.1)
    np.testing.assert_array_equal(found, estimator.predict(Y, noise_level=0.1))
    scaled = Reconstructor(make_pipeline(StandardScaler(), inner)).fit(Y, X)
    std = np.sqrt(np.diagonal(scaled.posterior_covariance(Y), axis1=1, axis2=2))
    np.testing.assert_allclose(scaled.predict(Y, return_std=True)[1], std, rtol=1e-6)


def test_variances_that_cannot_be_told_from_probes_raise_a_warning():
    """Where the smoothing of the prior matters much, products alone do not keep them positive."""
    rng = np.random.RandomState(3)
    A = rng.standard_normal((12, 10)) / 3 * np.geomspace(1, 0.05, 10)
    X = rng.exponential(size=(250, 10))
    Y = X @ A.T + 0.05 * rng.standard_normal((250, 12))
    options = {"max_iter": 10, "hidden_layer_sizes": 24, "prior_bandwidth": 0.3, "random_state": 2}
    estimator = ReconstructionINN(operator=A, **options).fit(X, Y)
    with pytest.warns(UserWarning, match="some variances were estimated to be zero") as caught:
        std = estimator.posterior_std(Y[:20], method="probing", n_probes=16)
    raised = (std < 1e-6 * std.max(axis=1, keepdims=True)).any(axis=1).sum()
    assert raised > 0 and f"For {raised} of 20 rows" in str(caught[0].message)
    assert np.isfinite(std).all() and (std > 0).all()
    assert caught[0].filename == __file__
