"""The prior that is smoothed by cluster covariances: its posterior mean, its choice, its draws."""

import numpy as np
import pytest
import torch

from skinvbayes.datasets import make_mixture
from skinvbayes.oracles import posterior_covariance, posterior_mean
from skinvbayes.priors import EmpiricalPrior, GaussianMixturePrior
from skinvbayes.problem.gaussian import linear_estimator
from skinvbayes.problem.smoothed_prior import SmoothedPrior
from skinvbayes.problem.weighted_mixture import WeightedMixture
from skinvbayes.training.kernel_draws import MeasurementDraws, SignalDraws

EPSILON = 0.1
CENTRES = np.array([[3.0, 0.0, 1.0], [-3.0, 1.0, 0.0], [0.0, -4.0, -1.0]])


def mixture_signals(n, rng, spread=0.5):
    return CENTRES[rng.randint(3, size=n)] + spread * rng.standard_normal((n, 3))


def operator_and_forward(rng, n_measurements, d=3):
    """A, and AᵀA, which is singular for fewer measurements than features."""
    A = rng.standard_normal((n_measurements, d))
    return A, A.T @ A


def fitted(u, forward, n_clusters, bandwidth, weight=None, **measurement):
    weight = np.ones(len(u)) if weight is None else weight
    measurement = {"epsilon": EPSILON, "random_state": 0} | measurement
    return SmoothedPrior.fit(
        u, weight, forward=forward, n_clusters=n_clusters, bandwidth=bandwidth, **measurement
    )


def chosen(u, forward, weight=None, epsilon=EPSILON):
    weight = np.ones(len(u)) if weight is None else weight
    return SmoothedPrior.chosen(u, weight, forward=forward, epsilon=epsilon, random_state=0)


def as_mixture(prior):
    """The same distribution of signals, for the oracles."""
    return GaussianMixturePrior(prior.means, prior.covariances[prior.labels], prior.weights)


@pytest.mark.parametrize("n_measurements", [2, 3, 5])
@pytest.mark.parametrize("n_clusters, bandwidth", [(1, 1), (3, 1), (1, 0.5), (3, 0.5), (3, 0.1)])
def test_posterior_mean_is_that_of_the_mixture(n_measurements, n_clusters, bandwidth, rng):
    A, forward = operator_and_forward(rng, n_measurements)
    u = mixture_signals(60, rng)
    prior = fitted(u, forward, n_clusters, bandwidth, weight=rng.uniform(0.5, 2, 60))
    Y = u @ A.T + np.sqrt(EPSILON) * rng.standard_normal((60, n_measurements))
    expected = posterior_mean(as_mixture(prior), Y, operator=A, noise_level=np.sqrt(EPSILON))
    np.testing.assert_allclose(prior.posterior_mean(Y @ A), expected, atol=1e-9)


def test_without_bandwidth_the_prior_is_the_signals(rng):
    A, forward = operator_and_forward(rng, 2)
    u = mixture_signals(60, rng)
    Y = u @ A.T + np.sqrt(EPSILON) * rng.standard_normal((60, 2))
    expected = posterior_mean(EmpiricalPrior(u), Y, operator=A, noise_level=np.sqrt(EPSILON))
    np.testing.assert_allclose(fitted(u, forward, 3, 0).posterior_mean(Y @ A), expected, atol=1e-9)


def test_rows_in_chunks_give_the_same(rng, monkeypatch):
    _, forward = operator_and_forward(rng, 3)
    prior, w = fitted(mixture_signals(50, rng), forward, 3, 0.5), rng.standard_normal((20, 3))
    expected = prior.posterior_mean(w)
    monkeypatch.setattr("skinvbayes.problem.smoothed_prior.chunk_size", lambda entries: 7)
    np.testing.assert_allclose(prior.posterior_mean(w), expected, rtol=1e-12)


def test_one_kernel_is_the_linear_estimator(rng):
    A, forward = operator_and_forward(rng, 4)
    u = mixture_signals(100, rng)
    weight = rng.uniform(0.5, 2, 100)
    prior = fitted(u, forward, 1, 1, weight)
    mean = np.average(u, axis=0, weights=weight)
    covariance = np.cov(u.T, aweights=weight, bias=True)
    linear = linear_estimator(mean, covariance, A, np.sqrt(EPSILON))
    Y = rng.standard_normal((20, 4))
    np.testing.assert_allclose(prior.posterior_mean(Y @ A), linear(Y), atol=1e-10)
    assert prior.is_linear
    assert not fitted(u, forward, 2, 1).is_linear
    assert not fitted(u, forward, 1, 0.9).is_linear


@pytest.mark.parametrize("bandwidth", [0, 0.3, 0.85, 1])
@pytest.mark.parametrize("n_clusters", [1, 3])
def test_kernels_keep_mean_and_covariance(n_clusters, bandwidth, rng):
    u = mixture_signals(500, rng)
    prior = fitted(u, np.eye(3), n_clusters, bandwidth)
    mean = prior.weights @ prior.means
    covariance = np.cov(prior.means.T, aweights=prior.weights, bias=True)
    covariance += np.einsum("j,jde->de", prior.weights, prior.covariances[prior.labels])
    tolerance = 1e-12 if n_clusters == 1 else 2e-3  # clusters of drawn labels, shrunk covariances
    np.testing.assert_allclose(mean, u.mean(axis=0), atol=tolerance)
    np.testing.assert_allclose(covariance, np.cov(u.T, bias=True), atol=tolerance)


def test_general_noise_is_brought_to_the_same_form(rng):
    """z = y: the operator itself is the forward map, and the noise is white."""
    forward = np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    u = mixture_signals(60, rng)
    prior = fitted(u, forward, 3, 0.5, noise=0.2 * np.eye(3))
    Y = u @ forward.T + np.sqrt(0.2) * rng.standard_normal((60, 3))
    expected = posterior_mean(as_mixture(prior), Y, operator=forward, noise_level=np.sqrt(0.2))
    np.testing.assert_allclose(prior.posterior_mean(Y), expected, atol=1e-9)


@pytest.mark.parametrize("n_measurements", [2, 4])
def test_noise_of_the_normal_equation_can_be_given_as_a_matrix(n_measurements, rng):
    A, forward = operator_and_forward(rng, n_measurements)
    u = mixture_signals(60, rng)
    w = u @ forward + np.sqrt(EPSILON) * rng.standard_normal((60, n_measurements)) @ A
    short = fitted(u, forward, 3, 0.5)
    long = fitted(u, forward, 3, 0.5, noise=EPSILON * forward)
    np.testing.assert_allclose(long.posterior_mean(w), short.posterior_mean(w), atol=1e-5)


def test_gaussian_signals_get_the_linear_estimator(rng):
    u = rng.standard_normal((1000, 3)) @ rng.standard_normal((3, 3))
    assert chosen(u, np.eye(3)).is_linear


def test_mixtures_get_clusters_and_come_near_the_posterior_mean(rng):
    u, truth = mixture_signals(2000, rng), mixture_signals(1000, rng)
    prior = chosen(u, np.eye(3), epsilon=1.0)
    assert len(prior.covariances) >= 3
    w = truth + rng.standard_normal(truth.shape)
    exact = posterior_mean(GaussianMixturePrior(CENTRES, 0.25), w, noise_level=1.0)
    error = np.mean((prior.posterior_mean(w) - exact) ** 2)
    assert error < 0.01 * np.mean((truth - exact) ** 2)


def test_curves_get_narrow_kernels(rng):
    t = rng.uniform(0, 2 * np.pi, 1500)
    prior = chosen(np.column_stack([np.cos(t), np.sin(t)]), np.eye(2), epsilon=0.05)
    assert prior.bandwidth < 1 or len(prior.means) >= 8


@pytest.mark.parametrize("n_clusters, bandwidth", [(1, 1), (3, 1), (1, 0.4), (3, 0.4)])
def test_weights_act_as_repetitions(n_clusters, bandwidth, rng):
    u = mixture_signals(60, rng)
    repeats = rng.randint(0, 4, size=60)
    weighted = fitted(u, np.eye(3), n_clusters, bandwidth, repeats.astype(float))
    repeated = fitted(u.repeat(repeats, axis=0), np.eye(3), n_clusters, bandwidth)
    w = rng.standard_normal((20, 3))
    # the mixtures stop when the likelihood hardly rises, from different starts
    tolerance = 1e-10 if n_clusters == 1 else 1e-3
    np.testing.assert_allclose(
        weighted.posterior_mean(w), repeated.posterior_mean(w), atol=tolerance
    )


def test_weights_decide_the_choice(rng):
    """Where the second cluster counts for nothing, one is left."""
    u = np.vstack([rng.standard_normal((600, 3)), 8 + rng.standard_normal((300, 3))])
    weight = np.r_[np.ones(600), np.full(300, 1e-9)]
    assert len(chosen(u, np.eye(3)).covariances) > 1
    assert len(chosen(u, np.eye(3), weight).covariances) == 1


def few(n, d):
    return lambda rng: rng.standard_normal((n, d))


HARD = {
    **{f"{n} signals": few(n, 3) for n in (2, 3, 5, 10, 11, 21)},
    "one feature": lambda rng: rng.standard_normal((300, 1)),
    "signs": lambda rng: rng.choice([-1.0, 1.0], (500, 2)),
    "one sign": lambda rng: rng.choice([-1.0, 1.0], (500, 1)),
    "constant": lambda rng: np.ones((50, 3)),
    "two rows": lambda rng: rng.standard_normal((2, 3))[rng.randint(2, size=100)],
    "a plane": lambda rng: rng.standard_normal((300, 2)) @ rng.standard_normal((2, 6)),
    "an outlier": lambda rng: np.vstack([rng.standard_normal((200, 3)), np.full((1, 3), 1e4)]),
    "more features than signals": few(40, 64),
}


@pytest.mark.parametrize("epsilon", [1e-20, 0.1, 1e6])
@pytest.mark.parametrize("name", HARD)
def test_hard_signals(name, epsilon, rng):
    u = HARD[name](rng)
    _, forward = operator_and_forward(rng, max(1, u.shape[1] - 1), u.shape[1])
    prior = chosen(u, forward, epsilon=epsilon)
    w = prior.drawn(u, rng)
    estimate = prior.posterior_mean(np.vstack([w, 1e3 * w]))
    assert np.isfinite(estimate).all()
    spread = u - u.mean(axis=0)
    assert np.mean((estimate[: len(u)] - u) ** 2) <= 1.2 * np.mean(spread**2) + 1e-9


def test_signs_are_found_again(rng):
    u = rng.choice([-1.0, 1.0], (500, 2))
    prior = chosen(u, np.eye(2), epsilon=0.3)
    w = u + np.sqrt(0.3) * rng.standard_normal(u.shape)
    np.testing.assert_allclose(prior.posterior_mean(w), np.tanh(w / 0.3), atol=0.15)


def test_the_choice_is_reproducible_and_leaves_its_arguments_alone(rng):
    u, weight = mixture_signals(300, rng), rng.uniform(size=300)
    before = u.copy(), weight.copy()
    first, second = chosen(u, np.eye(3), weight), chosen(u, np.eye(3), weight)
    np.testing.assert_array_equal(first.means, second.means)
    np.testing.assert_array_equal(first.covariances, second.covariances)
    np.testing.assert_array_equal(u, before[0])
    np.testing.assert_array_equal(weight, before[1])


def test_mixture_of_scikit_learn(rng):
    """Where clusters have many signals the shrinkage hardly matters."""
    from sklearn.mixture import GaussianMixture

    u = mixture_signals(2000, rng)
    ours = WeightedMixture.fit(u, np.ones(2000), 3, 0)
    theirs = GaussianMixture(3, random_state=0, tol=1e-6).fit(u)
    order, other = np.argsort(ours.means[:, 0]), np.argsort(theirs.means_[:, 0])
    np.testing.assert_allclose(ours.means[order], theirs.means_[other], atol=2e-3)
    np.testing.assert_allclose(ours.covariances[order], theirs.covariances_[other], atol=5e-3)


def test_information_criterion_of_scikit_learn(rng):
    """Up to a constant."""
    from sklearn.mixture import GaussianMixture

    u, differences = mixture_signals(300, rng), []
    for n in (2, 3):
        theirs = GaussianMixture(n, random_state=0).fit(u)
        ours = WeightedMixture(theirs.weights_, theirs.means_, theirs.covariances_)
        differences.append(ours.bic(u, np.ones(300)) - theirs.bic(u))
        repeated = ours.bic(np.repeat(u, 2, axis=0), np.ones(600))
        assert ours.bic(u, np.full(300, 2.0)) == pytest.approx(repeated)
    assert differences[0] == pytest.approx(differences[1])


def test_conditional_means_are_those_of_gaussians(rng):
    """Each row with a forward map of its own, of which one sees nothing."""
    mixture = WeightedMixture.fit(mixture_signals(200, rng), np.ones(200), 3, 0)
    roots = rng.standard_normal((2, 3, 3)) * np.array([1.0, 0.0])[:, None, None]
    information, w = roots @ roots.transpose(0, 2, 1), rng.standard_normal((2, 3))
    w[1] = 0
    found = np.array(list(mixture.conditional_means(information, w)))
    np.testing.assert_allclose(found[:, 1], mixture.means, atol=1e-12)
    for mean, S, u in zip(mixture.means, mixture.covariances, found[:, 0], strict=True):
        precision = np.linalg.inv(S)
        best = np.linalg.solve(information[0] + precision, w[0] + precision @ mean)
        np.testing.assert_allclose(u, best, rtol=1e-9)


@pytest.mark.parametrize("seed", [3, 4])
def test_clusters_that_overlap_are_counted(seed):
    """The noise hides them: errors on held-out signals hardly tell four of them from five."""
    data = make_mixture(1500, 1, n_features=2, operator="identity", random_state=seed)
    assert len(data.prior.weights) == 5
    prior = chosen(data.X_train, np.eye(2), epsilon=0.36)
    assert len(prior.covariances) == 5
    assert prior.is_mixture


@pytest.mark.parametrize("seed, n_features, epsilon", [(10, 3, 0.05), (17, 4, 0.3)])
def test_clusters_are_not_split_by_chance(seed, n_features, epsilon):
    """Errors on held-out signals prefer eight and six of them, by little more than they are off."""
    data = make_mixture(1500, 1, n_features=n_features, operator="identity", random_state=seed)
    assert len(data.prior.weights) == 4
    axes = np.linalg.qr(np.random.RandomState(seed).standard_normal((n_features, n_features)))[0]
    forward = (axes * np.linspace(0.1, 1, n_features)) @ axes.T
    assert len(chosen(data.X_train, forward, epsilon=epsilon).covariances) == 4


# ------------------------------------------------------------------------------ draws


DRAWN = [(1, 1), (3, 1), (3, 0.5), (1, 0)]


@pytest.mark.parametrize("n_clusters, bandwidth", DRAWN)
def test_draws_have_the_moments_of_the_measurements(n_clusters, bandwidth, rng):
    _, forward = operator_and_forward(rng, 2)
    prior = fitted(mixture_signals(200, rng), forward, n_clusters, bandwidth)
    draws, generator = MeasurementDraws(prior, torch.float64), torch.Generator().manual_seed(0)
    _, w = draws.draw(draws.rows(20_000, generator), generator)
    covariance = np.cov(prior.means.T, aweights=prior.weights, bias=True)
    covariance += np.einsum("j,jde->de", prior.weights, prior.covariances[prior.labels])
    tilt = prior.tilted_roots @ prior.tilted_roots - prior.measurement_covariances
    expected = forward @ covariance @ forward + EPSILON * forward
    expected += tilt[0] if prior.is_mixture else 0
    size = np.abs(expected).max()
    mean = forward @ (prior.weights @ prior.means)
    np.testing.assert_allclose(w.mean(0), mean, atol=5 * np.sqrt(size / 20_000))
    np.testing.assert_allclose(np.cov(w.T), expected, atol=0.05 * size)


def test_draws_of_a_mixture_vary_in_the_null_space(rng):
    """The posterior covariance is ε times the slope of the posterior mean there too."""
    _, forward = operator_and_forward(rng, 2)
    prior = fitted(mixture_signals(200, rng), forward, 3, 1)
    null = np.linalg.eigh(forward)[1][:, 0]
    draws, generator = MeasurementDraws(prior, torch.float64), torch.Generator().manual_seed(0)
    target, w = draws.draw(draws.rows(2000, generator), generator)
    along = w.numpy() @ null
    assert along.std() == pytest.approx(0.3 * np.sqrt(EPSILON), rel=0.1)
    w0 = w.numpy()[:20] - np.outer(along[:20], null)
    step = 1e-5
    slope = (prior.posterior_mean(w0 + step * null) - prior.posterior_mean(w0 - step * null)) @ null
    A = np.linalg.cholesky(forward + 1e-15 * np.eye(3)).T
    measured = np.linalg.solve(A.T + 1e-12 * np.eye(3), w0.T).T
    known = {"operator": A, "noise_level": np.sqrt(EPSILON)}
    variance = posterior_covariance(as_mixture(prior), measured, **known) @ null @ null
    np.testing.assert_allclose(EPSILON * slope / (2 * step), variance, rtol=1e-3)


@pytest.mark.parametrize("n_clusters, bandwidth", [(3, 1), (3, 0.5), (1, 0)])
def test_unexplained_is_the_mean_distance_of_signals_from_their_targets(n_clusters, bandwidth, rng):
    _, forward = operator_and_forward(rng, 3)
    prior = fitted(mixture_signals(40, rng), forward, n_clusters, bandwidth)
    rows = rng.choice(len(prior.means), 20_000, p=prior.weights)
    labels, white = prior.labels[rows], rng.standard_normal((20_000, 3))
    u = prior.means[rows] + np.einsum("ned,nd->ne", prior.covariance_roots[labels], white)
    w = prior.drawn(u, rng)
    if bandwidth == 1:
        target = prior.posterior_mean(w)
    else:
        rest = w - prior.images[rows]
        target = prior.means[rows] + np.einsum("nde,ne->nd", prior.gains[labels], rest)
    squares = ((u - target) ** 2).sum(axis=1)
    error = 5 * squares.std() / np.sqrt(4000) + 1e-12
    assert prior.unexplained(np.random.RandomState(0)) == pytest.approx(squares.mean(), abs=error)


@pytest.mark.parametrize("noise", [None, 0.3 * np.eye(3)])
@pytest.mark.parametrize("n_clusters, bandwidth", DRAWN)
def test_targets_of_draws(n_clusters, bandwidth, noise, rng):
    """m_j + K_k (w − G̃ m_j), or the whole posterior mean where h = 1."""
    _, forward = operator_and_forward(rng, 3)
    prior = fitted(mixture_signals(40, rng), forward, n_clusters, bandwidth, noise=noise)
    draws, generator = MeasurementDraws(prior, torch.float64), torch.Generator().manual_seed(0)
    rows = draws.rows(100, generator)
    target, w = draws.draw(rows, generator)
    if bandwidth == 1:
        expected = prior.posterior_mean(w.numpy())
    else:
        gains = prior.gains[prior.labels[rows]]
        rest = w.numpy() - prior.images[rows]
        expected = prior.means[rows] + np.einsum("nde,ne->nd", gains, rest)
    np.testing.assert_allclose(target, expected, atol=1e-8)


def test_large_draws_take_one_cluster_at_a_time(rng, monkeypatch):
    prior = fitted(mixture_signals(40, rng), np.eye(3), 3, 0.5)
    draws = MeasurementDraws(prior, torch.float64)
    rows = draws.rows(50, torch.Generator().manual_seed(0))
    expected = draws.draw(rows, torch.Generator().manual_seed(1))
    monkeypatch.setattr("skinvbayes.training.kernel_draws._DENSE_ENTRIES", 0)
    for a, b in zip(draws.draw(rows, torch.Generator().manual_seed(1)), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_rows_are_drawn_by_their_weights(rng):
    u = mixture_signals(4, rng)
    prior = fitted(u, np.eye(3), 1, 0.5, weight=np.array([1.0, 2.0, 0.0, 5.0]))
    rows = MeasurementDraws(prior).rows(20_000, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(np.bincount(rows) / 20_000, [1 / 8, 2 / 8, 5 / 8], atol=0.02)


# ----------------------------------------------------------------------------- its score


@pytest.mark.parametrize("n_clusters, bandwidth", [(1, 1), (3, 1), (3, 0.5), (1, 0.3)])
def test_targets_of_signals_hold_the_score(n_clusters, bandwidth, rng):
    """G̃u − ε ∇log p(u), against automatic differentiation of the density."""
    _, forward = operator_and_forward(rng, 3)
    weight = rng.uniform(0.5, 2, 40)
    prior = fitted(mixture_signals(40, rng), forward, n_clusters, bandwidth, weight=weight)
    draws, generator = SignalDraws(prior, 0.7, torch.float64), torch.Generator()
    u, z = draws.draw(draws.rows(100, generator), generator)
    covariances = torch.from_numpy(prior.covariances[prior.labels])
    kernels = torch.distributions.MultivariateNormal(torch.from_numpy(prior.means), covariances)
    u = u.requires_grad_()
    log_density = kernels.log_prob(u[:, None]) + torch.from_numpy(np.log(prior.weights))
    (score,) = torch.autograd.grad(log_density.logsumexp(1).sum(), u)
    torch.testing.assert_close(z, u.detach() @ torch.from_numpy(forward) - 0.7 * score)
    torch.testing.assert_close(draws.score(u.detach()), score)


def test_jitter_widens_the_kernels(rng):
    prior = fitted(mixture_signals(40, rng), np.eye(3), 3, 0.5)
    jitter = rng.standard_normal((3, 3))
    expected = prior.covariances + jitter @ jitter.T
    np.testing.assert_allclose(prior.widened(jitter).covariances, expected)
    np.testing.assert_allclose(prior.widened(0.2).covariances, prior.covariances + 0.04 * np.eye(3))


def test_draws_of_signals_have_the_moments_of_the_prior(rng):
    prior = fitted(mixture_signals(60, rng), np.eye(3), 3, 0.5)
    draws, generator = SignalDraws(prior, 0.7, torch.float64), torch.Generator()
    u, _ = draws.draw(draws.rows(20_000, generator), generator)
    expected = np.cov(prior.means.T, aweights=prior.weights, bias=True)
    expected += np.einsum("j,jde->de", prior.weights, prior.covariances[prior.labels])
    np.testing.assert_allclose(np.cov(u.T), expected, atol=0.05 * np.abs(expected).max())
