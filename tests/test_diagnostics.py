"""What the theory promises, held against trained networks: closed forms where there are some."""

import numpy as np
import pytest

from helpers import ALL, every, rmse
from skinvbayes import (
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)
from skinvbayes.datasets import bimodal_prior, make_bimodal
from skinvbayes.diagnostics import (
    optimal_prior_term,
    pushforward_score,
    recovered_forward,
    recovered_operator,
    score_error,
    stationarity,
    sufficiency_gap,
    tweedie_gap,
)
from skinvbayes.priors import EmpiricalPrior, GaussianMixturePrior, KernelDensityPrior

OPERATORS = {
    "identity": None,
    "square": np.array([[1.0, 0.2], [0.1, 0.5]]),
    "tall": np.array([[1.0, 0.4], [0.0, 0.8], [0.3, -0.5]]),
}
NOISE_LEVEL = 0.4
REGULARIZED = [LogDetRegularizedINN, DivergenceRegularizedINN]


def gaussian_pairs(operator, n=1000):
    """Gaussian signals and noise of exact sample moments: every optimum is linear, and known."""
    rng = np.random.RandomState(0)
    A = np.eye(2) if operator is None else operator
    m = len(A)
    white = rng.standard_normal((n, 2 + m))
    white -= white.mean(axis=0)
    white = white @ np.linalg.inv(np.linalg.cholesky(white.T @ white / n)).T
    X = white[:, :2] @ [[1.0, 0.3], [0.0, 0.6]] + [1.0, -2.0]
    prior = GaussianMixturePrior([X.mean(axis=0)], np.cov(X.T, bias=True))
    return X, X @ A.T + NOISE_LEVEL * white[:, 2:], prior, (A if operator is None else A.T @ A)


@pytest.fixture(scope="module")
def gaussian():
    """Estimators trained on Gaussian pairs, each only once; ε is not δ², lest they be mixed up."""
    fitted = {}

    def fit(cls, case):
        if (cls, case) not in fitted:
            X, Y, prior, G = gaussian_pairs(OPERATORS[case])
            weight = {"epsilon": 2 * NOISE_LEVEL**2} if cls in REGULARIZED else {}
            common = {"noise_level": NOISE_LEVEL, "max_iter": 50, "random_state": 0}
            estimator = cls(operator=OPERATORS[case], **weight, **common).fit(X, Y)
            fitted[cls, case] = estimator, X, Y, prior, G
        return fitted[cls, case]

    return fit


@pytest.fixture(scope="module")
def bimodal():
    """The four estimators on 1,500 pairs of the bimodal problem, A = I, δ = 0.15."""
    train = make_bimodal(1500, noise_level=0.15, random_state=0)
    return {cls: cls(max_iter=50, random_state=0).fit(train.X, train.Y) for cls in ALL}


@pytest.mark.parametrize("case", OPERATORS)
@every
def test_gaussian_optimum(cls, case, gaussian):
    """What was learned is what the theory says, to what 1,000 pairs can say of a nonlinear map."""
    estimator, X, Y, prior, G = gaussian(cls, case)
    assert np.median(stationarity(estimator, Y, prior)) < 0.02
    theory = optimal_prior_term(estimator, X, prior)
    size = rmse(X @ G.T, 0)
    assert rmse(estimator.prior_term(X), theory) < 0.04 * size
    assert (rmse(theory, 0) > 0.1 * size) == (cls is not ALL[0])  # only one has no such term
    assert rmse(recovered_forward(estimator, X, prior), X @ G.T) < 0.04 * size
    np.testing.assert_allclose(recovered_operator(estimator, X, Y), G, atol=0.05)


@every
def test_bimodal_optimum(cls, bimodal):
    """New measurements, a prior of two modes."""
    test = make_bimodal(1000, noise_level=0.15, random_state=1)
    assert np.median(stationarity(bimodal[cls], test.Y, test.prior)) < 0.012
    raw = rmse(bimodal[cls].transform(test.X), test.X)
    recovered = rmse(recovered_forward(bimodal[cls], test.X, test.prior), test.X)
    assert recovered < 0.03
    assert cls is ALL[0] or raw > 2.5 * recovered
    found = recovered_operator(bimodal[cls], test.X, test.Y)
    np.testing.assert_allclose(found, np.eye(2), atol=0.04)


@pytest.mark.parametrize("factor", [-1, 0.5, 2, 1 / 0.15**2])
@pytest.mark.parametrize("cls", REGULARIZED)
def test_stationarity_tells_a_wrong_weight(cls, factor, bimodal):
    """A wrong sign, a missing ½, a mix-up of ε with ε/δ² are far from stationary."""
    test = make_bimodal(1000, noise_level=0.15, random_state=1)
    right = np.median(stationarity(bimodal[cls], test.Y, test.prior))

    class Wrong(type(test.prior)):
        def score(self, X):
            return factor * super().score(X)

    wrong = Wrong(test.prior.means, test.prior.covariances, test.prior.weights)
    assert np.median(stationarity(bimodal[cls], test.Y, wrong)) > 2 * right


def test_stationarity_is_relative_to_the_data(bimodal):
    """The equation itself, written out."""
    estimator = bimodal[DivergenceRegularizedINN]
    test = make_bimodal(50, noise_level=0.15, random_state=1)
    x = estimator.predict(test.Y)
    G = np.linalg.lstsq(*_centred(make_bimodal(1500, noise_level=0.15, random_state=0)))[0].T
    residual = x @ G.T - test.Y - estimator.epsilon_ * test.prior.score(x)
    expected = np.linalg.norm(residual, axis=1) / np.linalg.norm(test.Y, axis=1)
    found = stationarity(estimator, test.Y, test.prior)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.corrcoef(found, expected)[0, 1] > 0.9


def _centred(data):
    return data.X - data.X.mean(axis=0), data.Y - data.Y.mean(axis=0)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("residual", ["gradient", "mlp"])
def test_pushforward_score_is_the_gradient_of_the_density(cls, residual):
    """Against finite differences of log q(z) = log p(φ⁻¹(z)) − log|det Dφ(φ⁻¹(z))|."""
    A = OPERATORS["square"]
    train = make_bimodal(300, operator=A, noise_level=0.3, random_state=0)
    estimator = cls(operator=A, residual=residual, max_iter=15, random_state=0)
    estimator.fit(train.X, train.Y)
    X = train.X[:20]
    Z = estimator.transform(X)

    def log_density(Z):
        x = estimator.inverse_transform(Z)
        return train.prior.log_density(x) - np.linalg.slogdet(estimator.jacobian(x))[1]

    step = 1e-5 * np.eye(2)
    differences = [(log_density(Z + s) - log_density(Z - s)) / 2e-5 for s in step]
    score = pushforward_score(estimator, X, train.prior)
    np.testing.assert_allclose(score, np.stack(differences, axis=1), rtol=1e-4, atol=1e-4)


def test_prior_score(bimodal):
    """The learned score is near the true one, and a kernel density's is a fair substitute."""
    estimator = bimodal[DivergenceRegularizedINN]
    prior = bimodal_prior()
    X = prior.sample(2000, random_state=5)
    assert score_error(estimator, X, prior) < 0.35
    density = KernelDensityPrior(prior.sample(4000, random_state=6), bandwidth=0.15)
    assert score_error(estimator, X, density) < 0.4
    assert score_error(estimator, X, Shifted(prior)) > 0.9


class Shifted:
    """The score with the opposite sign."""

    def __init__(self, prior):
        self.score = lambda X: -prior.score(X)


def test_reconstruction_needs_no_density():
    """Its term is that of a posterior mean, which given signals have too."""
    data = make_bimodal(1500, noise_level=0.3, random_state=0)
    estimator = ReconstructionINN(max_iter=50, random_state=0).fit(data.X, data.Y)
    assert np.median(stationarity(estimator, data.Y, EmpiricalPrior(data.X))) < 0.05


@pytest.mark.parametrize("cls", [ReconstructionINN, *REGULARIZED])
def test_wide_operator(cls):
    """One measurement of two unknowns: AᵀA is singular, the equations hold all the same."""
    A = np.array([[1.0, 0.5]])
    data = make_bimodal(2000, operator=A, noise_level=0.3, random_state=0)
    estimator = cls(operator=A, max_iter=60, random_state=0).fit(data.X, data.Y)
    Z = np.linalg.norm(data.Y @ A, axis=1)
    large = np.median(Z) < Z
    assert np.median(stationarity(estimator, data.Y[large], data.prior)) < 0.06


@pytest.mark.parametrize("case", ["square", "tall", "wide"])
def test_identities_of_the_theory(case, rng):
    """Tweedie's formula and Lemma 1 hold to rounding, for a prior of unlike components."""
    prior = GaussianMixturePrior(
        [[1.0, 0.0], [-1.0, 0.5], [0.0, 2.0]],
        [[[0.2, 0.1], [0.1, 0.3]], [[0.5, 0.0], [0.0, 0.1]], [[0.1, 0.0], [0.0, 0.1]]],
        [0.5, 0.2, 0.3],
    )
    A = {"wide": np.array([[1.0, 0.5]]), **OPERATORS}[case]
    Y = 2 * rng.standard_normal((50, len(A)))
    for noise_level in (0.1, 1.0):
        known = {"operator": A, "noise_level": noise_level}
        assert tweedie_gap(prior, Y, **known).max() < 1e-10
        assert sufficiency_gap(prior, Y, **known).max() < 1e-10
    assert tweedie_gap(prior, Y[:, :1] + [[0, 1]], noise_level=0.5).max() < 1e-10


def test_gaps_tell_a_wrong_posterior(monkeypatch, rng):
    from skinvbayes.diagnostics import identities

    Y, A = rng.standard_normal((10, 3)), OPERATORS["tall"]
    known = {"operator": A, "noise_level": 0.3}
    shifted = {name: getattr(identities, name) for name in ("posterior", "posterior_mean")}
    monkeypatch.setattr(
        identities, "posterior_mean", lambda *a, **k: 1.01 * shifted["posterior_mean"](*a, **k)
    )
    monkeypatch.setattr(
        identities,
        "posterior",
        lambda prior, Y, **k: shifted["posterior"](prior, Y + (Y.shape[1] == 2) * 0.01, **k),
    )
    assert tweedie_gap(bimodal_prior(), Y, **known).min() > 1e-4
    assert sufficiency_gap(bimodal_prior(), Y, **known).min() > 1e-4


@pytest.mark.parametrize("function", [optimal_prior_term, recovered_operator])
def test_wrapped_estimator_is_refused(function, pairs):
    X, Y = pairs
    wrapped = Reconstructor(DivergenceRegularizedINN(max_iter=2)).fit(Y, X)
    with pytest.raises(TypeError, match="Reconstructor.*estimator_"):
        function(wrapped, X, Y)
