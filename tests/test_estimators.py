"""The four estimators, as users have them."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from helpers import every, rmse
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import make_bimodal
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.priors import GaussianMixturePrior


def simulate(prior, operator, noise_level, n, seed):
    rng = np.random.RandomState(seed)
    X = prior.sample(n, rng)
    clean = X if operator is None else X @ np.asarray(operator).T
    return X, clean + noise_level * rng.standard_normal(clean.shape)


def rotated_prior():
    covariances = [[[0.2, 0.1], [0.1, 0.3]], [[0.3, -0.1], [-0.1, 0.1]], 0.2 * np.eye(2)]
    return GaussianMixturePrior(
        [[1.2, 0.3], [-1.0, 0.8], [0.1, -1.1]], covariances, [0.5, 0.3, 0.2]
    )


PROBLEMS = {
    "identity": (lambda: make_bimodal(1).prior, None, 0.15),
    "ill-conditioned": (lambda: make_bimodal(1).prior, np.diag([1.0, 0.25]), 0.3),
    "three components, tall": (rotated_prior, [[1.0, 0.4], [0.0, 0.8], [0.3, -0.5]], 0.3),
    "three components, sheared": (rotated_prior, [[1.0, 0.5], [0.0, 1.0]], 0.25),
}


@pytest.fixture(scope="module", params=PROBLEMS, ids=str)
def problem(request):
    make_prior, operator, noise_level = PROBLEMS[request.param]
    prior = make_prior()
    operator = None if operator is None else np.asarray(operator)
    train = simulate(prior, operator, noise_level, 4000, 0)
    test = simulate(prior, operator, noise_level, 1000, 1)
    known = {"operator": operator, "noise_level": noise_level}
    mean = posterior_mean(prior, test[1], **known)
    maximum = map_estimate(prior, test[1], **known)
    return operator, noise_level, train, test, mean, maximum


# ------------------------------------------------------------------------------------- the theory


def test_divergence_is_the_map_estimator(problem):
    operator, noise_level, train, (X, Y), mean, maximum = problem
    estimator = DivergenceRegularizedINN(operator=operator, max_iter=100, random_state=0)
    reconstruction = estimator.fit(*train).predict(Y)
    assert np.median(np.linalg.norm(reconstruction - maximum, axis=1)) <= 0.045
    assert rmse(reconstruction, X) <= rmse(maximum, X) + 0.006 * rmse(mean, X)
    assert estimator.noise_level_ == pytest.approx(noise_level, rel=0.05)
    assert estimator.epsilon_ == pytest.approx(estimator.noise_level_**2)


def test_reconstruction_is_the_posterior_mean(problem):
    operator, _, train, (X, Y), mean, _ = problem
    estimator = ReconstructionINN(operator=operator, random_state=0, max_iter=25).fit(*train)
    assert rmse(estimator.predict(Y), X) <= 1.01 * rmse(mean, X)


def test_logdet_is_close_to_the_posterior_mean(problem):
    operator, _, train, (X, Y), mean, _ = problem
    estimator = LogDetRegularizedINN(operator=operator, random_state=0, max_iter=50).fit(*train)
    assert rmse(estimator.predict(Y), X) <= 1.025 * rmse(mean, X)


def test_approximation_learns_the_forward_map(problem):
    operator, _, train, (X, Y), mean, _ = problem
    estimator = ApproximationINN(operator=operator, max_iter=50, random_state=0).fit(*train)
    forward = X if operator is None else X @ operator.T @ operator
    assert rmse(estimator.transform(X), forward) <= 0.02
    assert rmse(estimator.predict(Y), X) > 1.02 * rmse(mean, X)


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
@pytest.mark.parametrize("noise_level", [0.15, 0.4])
def test_few_pairs(cls, noise_level):
    train = make_bimodal(500, noise_level=noise_level, random_state=2)
    test = make_bimodal(4000, noise_level=noise_level, random_state=3)
    mean = posterior_mean(test.prior, test.Y, noise_level=noise_level)
    limit = 1.025 * rmse(mean, test.X)
    if cls is DivergenceRegularizedINN:  # the MAP estimate itself may be worse
        maximum = map_estimate(test.prior, test.Y, noise_level=noise_level)
        limit = max(limit, rmse(maximum, test.X))
    max_iter = 60 if cls is DivergenceRegularizedINN else 30
    estimator = cls(max_iter=max_iter, random_state=0).fit(train.X, train.Y)
    assert rmse(estimator.predict(test.Y), test.X) <= limit


def closed_form_slope(cls, a, gamma, covariance, delta2):
    """Design of the Gaussian oracle, in terms of the sample's moments."""
    slope = covariance / gamma  # of the regression of y on x: a, up to the sample's noise
    if cls is ApproximationINN:
        return slope
    if cls is DivergenceRegularizedINN:
        return slope + delta2 / gamma
    if cls is LogDetRegularizedINN:
        return (slope + np.sqrt(slope**2 + 4 * delta2 / gamma)) / 2
    return None


@every
def test_gaussian_slopes_match_the_closed_forms(cls):
    """Diagonal Gaussian problem in the original form: the optimum is linear."""
    rng = np.random.RandomState(0)
    a, gamma, delta = np.array([1.0, 0.5, 0.8]), np.array([1.0, 0.5, 2.0]), 0.4
    # white sample moments, so that "in terms of the sample moments" is exact
    white = np.linalg.qr(np.column_stack([np.ones(2000), rng.standard_normal((2000, 6))]))[0]
    white = np.sqrt(2000) * white[:, 1:]
    X, noise = np.sqrt(gamma) * white[:, :3], delta * white[:, 3:]
    Y = a * X + noise
    estimator = cls(noise_level=delta, random_state=1, tol=0).fit(X, Y)
    if cls is ReconstructionINN:
        expected = a + delta**2 / (a * gamma)
        fitted = 1 / np.diag(np.linalg.lstsq(Y, estimator.predict(Y), rcond=None)[0])
    else:
        expected = closed_form_slope(cls, a, gamma, (X * Y).mean(axis=0), delta**2)
        fitted = np.diag(np.linalg.lstsq(X, estimator.transform(X), rcond=None)[0])
    # the reconstruction's optimum is found by iteration, the others start from it
    np.testing.assert_allclose(fitted, expected, rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (5, 4)])
def test_gaussian_map_for_tall_and_wide_operators(shape):
    rng = np.random.RandomState(1)
    A = rng.standard_normal(shape) / np.sqrt(shape[1])
    root = np.eye(shape[1]) + 0.3 * rng.standard_normal((shape[1], shape[1]))
    prior = GaussianMixturePrior(np.ones((1, shape[1])), root @ root.T)
    X, Y = simulate(prior, A, 0.3, 4000, 0)
    Y_new = simulate(prior, A, 0.3, 1000, 1)[1]
    estimator = DivergenceRegularizedINN(operator=A, max_iter=60, random_state=0).fit(X, Y)
    sample = GaussianMixturePrior(X.mean(axis=0)[None], np.cov(X.T, bias=True))
    expected = map_estimate(sample, Y_new, operator=A, noise_level=estimator.noise_level_)
    assert rmse(estimator.predict(Y_new), expected) <= 0.01 * rmse(expected, X.mean(axis=0))


def test_nearly_degenerate_gaussian():
    """Slopes of 1 and of 10,000: in natural coordinates both are one."""
    rng = np.random.RandomState(3)
    axes = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    prior = GaussianMixturePrior(np.zeros((1, 6)), axes * np.geomspace(1e-5, 4, 6) @ axes.T)
    A = rng.standard_normal((8, 6)) / np.sqrt(6)
    X, Y = simulate(prior, A, 0.3, 4000, 0)
    X_new, Y_new = simulate(prior, A, 0.3, 2000, 1)
    estimator = DivergenceRegularizedINN(operator=A, max_iter=60, random_state=0).fit(X, Y)
    mean = posterior_mean(prior, Y_new, operator=A, noise_level=0.3)
    assert rmse(estimator.predict(Y_new), X_new) <= 1.01 * rmse(mean, X_new)
    assert estimator.prior_bandwidth_ < 0.1


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_constant_and_repeated_features(cls):
    data = make_bimodal(2000, noise_level=0.3, random_state=0)
    X = np.column_stack([data.X, data.X[:, 0], np.full(len(data.X), 3.0)])
    A = np.eye(2, 4)
    X_new = cls(operator=A, max_iter=20, random_state=0).fit(X, data.Y).predict(data.Y)
    np.testing.assert_allclose(X_new[:, 2], X_new[:, 0], atol=0.1)
    np.testing.assert_allclose(X_new[:, 3], 3, atol=0.05)
    mean = posterior_mean(data.prior, data.Y, noise_level=0.3)
    assert rmse(X_new[:, :2], data.X) <= 1.03 * rmse(mean, data.X)


@every
@pytest.mark.parametrize("residual", ["gradient", "mlp"])
def test_jacobian_is_the_derivative_of_transform(cls, residual):
    A = np.array([[3.0, 0.3], [0.0, 0.6], [0.2, 0.2]])
    data = make_bimodal(300, operator=A, noise_level=0.2, random_state=0)
    estimator = cls(operator=A, residual=residual, n_blocks=2, max_iter=4, random_state=0)
    estimator.fit(10 * data.X + 5, 10 * data.Y)
    X = 10 * data.X[:20] + 5
    step = 1e-4 * np.eye(2)
    columns = [(estimator.transform(X + s) - estimator.transform(X - s)) / 2e-4 for s in step]
    np.testing.assert_allclose(estimator.jacobian(X), np.stack(columns, axis=2), rtol=1e-5)
    assert estimator.jacobian(X.astype(np.float32)).dtype == np.float32


@every
@pytest.mark.parametrize("operator", [None, np.array([[1.0, 0.3], [0.0, 0.6], [0.2, 0.2]])])
def test_prior_term_is_what_is_missing_from_the_forward_map(cls, operator):
    data = make_bimodal(3000, operator=operator, noise_level=0.2, random_state=0)
    estimator = cls(operator=operator, max_iter=20, random_state=0).fit(data.X, data.Y)
    G = np.eye(2) if operator is None else operator.T @ operator
    missing = data.X @ G - estimator.transform(data.X)
    tolerance = (
        0.02 if operator is None else 0.01
    )  # of the mean of the noise, and of an estimated G
    assert rmse(estimator.prior_term(data.X), missing) <= tolerance


def test_prior_score_is_the_score_of_the_prior():
    A = np.array([[1.0, 0.3], [0.0, 0.6], [0.2, 0.2]])
    data = make_bimodal(6000, operator=A, noise_level=0.2, random_state=0)
    estimator = DivergenceRegularizedINN(operator=A, random_state=0).fit(data.X, data.Y)
    X = data.prior.sample(2000, 1)
    true = data.prior.score(X)
    assert rmse(estimator.prior_score(X), true) <= 0.15 * rmse(true, 0)
    with pytest.raises(ValueError, match="epsilon = 0"):
        DivergenceRegularizedINN(epsilon=0, max_iter=2).fit(data.X, data.Y).prior_score(X)


def test_bandwidth_auto_leaves_well_sampled_priors_alone(pairs):
    assert DivergenceRegularizedINN(max_iter=2).fit(*pairs).prior_bandwidth_ == 0
    X = np.random.RandomState(0).standard_normal((800, 12))  # few, but filling the space
    assert (
        DivergenceRegularizedINN(noise_level=0.1, max_iter=2).fit(X, X + 0.1).prior_bandwidth_ == 0
    )


# ------------------------------------------------------------------------------------- the contract


@every
@pytest.mark.parametrize("residual", ["gradient", "mlp"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_inverse_transform_inverts(cls, residual, dtype, pairs):
    X, Y = (part.astype(dtype) for part in pairs)
    estimator = cls(residual=residual, max_iter=8, random_state=0).fit(X, Y)
    Z = estimator.transform(X)
    back = estimator.inverse_transform(Z)
    assert Z.dtype == back.dtype == estimator.predict(Y).dtype == dtype
    tolerance = {np.float64: 1e-10, np.float32: 1e-5}[dtype]
    assert np.abs(back - X).max() <= tolerance * np.abs(X).max()


@every
def test_scales_do_not_matter(cls, pairs):
    X, Y = pairs
    first = cls(max_iter=15, random_state=0).fit(X, Y)
    second = clone(first)
    if "epsilon" in first.get_params():
        second.set_params(epsilon=first.epsilon_ * 1e6)
    second.fit(1000 * X, 1000 * Y)
    np.testing.assert_allclose(second.predict(1000 * Y), 1000 * first.predict(Y), rtol=1e-6)
    np.testing.assert_allclose(
        second.loss_curve_[-1] / second.loss_curve_[0],
        first.loss_curve_[-1] / first.loss_curve_[0],
        rtol=0.2,
    )


def test_scales_of_operator_and_signals_do_not_matter():
    A = np.array([[1.0, 0.3], [0.0, 0.6], [0.2, 0.2]])
    data = make_bimodal(300, operator=A, noise_level=0.2, random_state=0)
    first = DivergenceRegularizedINN(operator=A, max_iter=15, random_state=0).fit(data.X, data.Y)
    second = DivergenceRegularizedINN(
        operator=5 * A, epsilon=first.epsilon_ * 100, max_iter=15, random_state=0
    ).fit(2 * data.X, 10 * data.Y)
    np.testing.assert_allclose(second.predict(10 * data.Y), 2 * first.predict(data.Y), rtol=1e-6)


@every
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_same_seed_same_model_and_global_stream_untouched(cls, solver, pairs):
    stream = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    first = cls(solver=solver, max_iter=3, random_state=7).fit(*pairs)
    torch.set_num_threads(1 if threads > 1 else 2)
    second = cls(solver=solver, max_iter=3, random_state=7).fit(*pairs)
    torch.set_num_threads(threads)
    other = cls(solver=solver, max_iter=3, random_state=8).fit(*pairs)
    assert np.array_equal(first.predict(pairs[1]), second.predict(pairs[1]))
    assert not np.array_equal(first.predict(pairs[1]), other.predict(pairs[1]))
    assert torch.equal(stream, torch.random.get_rng_state())


@every
def test_loss_curve_is_the_papers_objective(cls, pairs):
    X, Y = pairs
    A = np.array([[1.0, 0.2], [0.0, 0.7]])
    Y = Y @ A.T
    estimator = cls(operator=A, max_iter=9, random_state=0).fit(X, Y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) <= 9
    Z = estimator.problem_.targets(Y)  # the noise of A y is not white
    expected = estimator.problem_.forward.forward(X)
    expected = expected + (Z - expected).mean(axis=0)  # E[z|x]: the noise of z is left out
    P = estimator.problem_.coordinates.precision  # the metric of the squares
    if cls is ReconstructionINN:  # the noise is fresh: the pairs' own is one draw of it
        error = estimator.predict(Y) - X
        loss = 0.5 * np.einsum("ni,ij,nj->n", error, P, error)
        assert estimator.loss_curve_[-1] == pytest.approx(loss.mean(), rel=0.1)
        return
    error = estimator.transform(X) - expected
    loss = 0.5 * np.einsum("ni,ij,nj->n", error, np.linalg.inv(P), error)
    step = 1e-5
    J = np.stack(
        [
            (estimator.transform(X + step * e) - estimator.transform(X - step * e)) / (2 * step)
            for e in np.eye(2)
        ],
        axis=2,
    )
    if cls is LogDetRegularizedINN:
        loss -= estimator.epsilon_ * np.linalg.slogdet(J)[1]
    if cls is DivergenceRegularizedINN:
        loss -= estimator.epsilon_ * np.trace(np.linalg.inv(P) @ J, axis1=1, axis2=2)
    assert estimator.loss_curve_[-1] == pytest.approx(loss.mean(), rel=1e-5)


@every
def test_certified_bound_of_a_trained_network(cls, pairs):
    estimator = cls(max_iter=8, lipschitz=0.9, random_state=0).fit(*pairs)
    assert (estimator.lipschitz_ <= 0.9).all()
    assert estimator.lipschitz_.shape == (1,)
    network = estimator.network_
    block = (network.explicit_inverse or network).blocks[0]
    points = 3 * torch.randn(2, 100_000, 2, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        change = (block.residual(points[0]) - block.residual(points[1])).norm(dim=1)
    assert (change <= estimator.lipschitz_[0] * (points[0] - points[1]).norm(dim=1)).all()


@every
def test_blocks_branches_and_options(cls, pairs):
    X, Y = pairs
    for options in ({"n_blocks": 2}, {"residual": "mlp"}, {"hidden_layer_sizes": 10}):
        estimator = cls(max_iter=8, random_state=0, **options).fit(X, Y)
        assert estimator.score(X, Y) > 0.8
        assert len(estimator.lipschitz_) == options.get("n_blocks", 1)


def test_estimated_operator(pairs):
    X, Y = pairs
    A = np.array([[1.0, 0.2], [0.0, 0.7], [0.5, 0.5]])
    data = make_bimodal(2000, operator=A, noise_level=0.1, random_state=0)
    implicit = DivergenceRegularizedINN(max_iter=5, random_state=0).fit(data.X, data.Y)
    np.testing.assert_allclose(implicit.operator_.to_dense(), A, atol=0.02)
    explicit = DivergenceRegularizedINN(operator="estimate", max_iter=5, random_state=0)
    np.testing.assert_array_equal(
        explicit.fit(data.X, data.Y).predict(data.Y), implicit.predict(data.Y)
    )
    assert DivergenceRegularizedINN(max_iter=2).fit(X, Y).operator_ is None


def test_sample_weight_selects(pairs):
    X, Y = pairs
    weight = (X[:, 0] > 0).astype(float)
    options = {"max_iter": 30, "noise_level": 0.3, "random_state": 0}
    estimator = DivergenceRegularizedINN(**options).fit(X, Y, sample_weight=weight)
    plain = DivergenceRegularizedINN(**options).fit(X, Y)
    kept = weight > 0
    error = np.linalg.norm(estimator.predict(Y) - X, axis=1)
    baseline = np.linalg.norm(plain.predict(Y) - X, axis=1)
    assert error[kept].mean() < baseline[kept].mean()
    assert error[~kept].mean() > baseline[~kept].mean()


@every
def test_clone_params_pickle_and_inputs(cls, pairs):
    X, Y = (part.copy() for part in pairs)
    A = np.array([[1.0, 0.2], [0.0, 0.7]])
    originals = X.copy(), Y.copy(), A.copy()
    estimator = cls(operator=A, max_iter=2, random_state=0)
    parameters = estimator.get_params()
    estimator.fit(X, Y)
    assert estimator.get_params() == parameters
    assert clone(estimator).get_params().keys() == parameters.keys()
    for value, original in zip((X, Y, A), originals, strict=True):
        assert np.array_equal(value, original)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(loaded.predict(Y), estimator.predict(Y))
    assert estimator.score(X, Y) == loaded.score(X, Y)


def test_grid_search_over_epsilon(pairs):
    grid = {"epsilon": [1e-4, 0.09, 3.0]}
    search = GridSearchCV(DivergenceRegularizedINN(max_iter=15, random_state=0), grid, cv=3)
    search.fit(*pairs)
    assert search.best_params_ == {"epsilon": 0.09}
    assert search.best_score_ > 0.8


def test_verbose_shows_progress(pairs, capsys):
    DivergenceRegularizedINN(max_iter=3, verbose=True).fit(*pairs)
    assert "loss" in capsys.readouterr().out
