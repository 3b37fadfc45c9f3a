"""Training from draws of a smoothed prior: when it is chosen, and what it minimises."""

import warnings
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from helpers import rmse
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_bimodal, make_mixture
from skinvbayes.estimators.architecture import training_specification
from skinvbayes.losses import DivergenceLoss
from skinvbayes.oracles import map_estimate, posterior_covariance, posterior_mean
from skinvbayes.problem.gaussian import linear_estimator
from skinvbayes.problem.smoothed_prior import SmoothedPrior
from skinvbayes.training.mean_loss import FRESH_STEPS, Objective
from skinvbayes.training.objective import drawn_from, objective_of
from skinvbayes.training.specification import Pairs


@pytest.mark.parametrize("bandwidth, smoothed", [("auto", True), (0.0, False)])
def test_mixtures_are_learned_from_a_smoothed_prior(bandwidth, smoothed, monkeypatch):
    """Unless a bandwidth is given: then the signals themselves are, with that one."""
    drawn = []
    monkeypatch.setattr(
        "skinvbayes.training.stages.drawn_from",
        lambda objective, prior, *rest: drawn.append(prior) or drawn_from(objective, prior, *rest),
    )
    data = make_mixture(800, 500, n_features=2, operator="wide", random_state=2)
    options = {"prior_bandwidth": bandwidth, "max_iter": 40, "random_state": 0}
    estimator = ReconstructionINN(operator=data.operator, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(data.X_train, data.Y_train)
    assert bool(drawn) == smoothed
    known = {"operator": data.operator, "noise_level": data.noise_level}
    mean = posterior_mean(data.prior, data.Y_test, **known)
    error = rmse(estimator.predict(data.Y_test), data.X_test)
    assert error < 1.02 * rmse(mean, data.X_test)
    if smoothed:
        variance = posterior_covariance(data.prior, data.Y_test, **known).diagonal(0, 1, 2)
        ratio = estimator.posterior_std(data.Y_test) / np.sqrt(variance)
        assert np.median(np.abs(ratio - 1)) < 0.12
        # the loss is the error on the pairs, and not what is left of it where targets lack noise
        w = estimator.problem_.coordinates.from_targets(data.Y_train @ data.operator)
        u = estimator.problem_.coordinates.from_signals(data.X_train)
        found = estimator.network_.explicit_inverse(torch.from_numpy(w)).detach().numpy()
        loss = 0.5 * ((found - u) ** 2).sum(axis=1).mean() * estimator.problem_.coordinates.scale**2
        assert estimator.loss_curve_[-1] == pytest.approx(loss, rel=0.15)


def test_the_divergence_loss_learns_the_score_of_a_smoothed_prior():
    """Draws of the prior say more of its score than the signals, and the loss means the same."""
    data = make_mixture(1000, 1000, n_features=4, operator="tall", random_state=0)
    known = {"operator": data.operator, "noise_level": data.noise_level}
    target = map_estimate(data.prior, data.Y_test, **known)
    errors, fitted = {}, {}
    for bandwidth in ("auto", 0.0):
        options = {"prior_bandwidth": bandwidth, "max_iter": 60, "random_state": 0}
        estimator = DivergenceRegularizedINN(operator=data.operator, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted[bandwidth] = estimator.fit(data.X_train, data.Y_train)
        errors[bandwidth] = rmse(estimator.predict(data.Y_test), target)
    assert errors["auto"] < 0.75 * errors[0.0]
    # the loss is that of pairs, and not the square that it becomes by parts
    losses = {name: estimator.loss_curve_[-1] for name, estimator in fitted.items()}
    assert losses["auto"] == pytest.approx(losses[0.0], rel=0.1)


def test_few_signals_with_heavy_tails_are_not_drawn():
    """No Gaussians that are fitted to a hundred of them have their tails."""
    rng = np.random.RandomState(2)
    A = rng.standard_normal((2, 2)) / np.sqrt(2)
    X, X_test = rng.standard_t(2.2, (100, 2)), rng.standard_t(2.2, (2000, 2))
    Y, Y_test = (x @ A.T + 0.3 * rng.standard_normal(x.shape) for x in (X, X_test))
    estimator = DivergenceRegularizedINN(operator=A, random_state=2).fit(X, Y)
    linear = linear_estimator(X.mean(axis=0), np.cov(X.T, bias=True), A, 0.3)
    errors = [rmse(found, X_test) for found in (estimator.predict(Y_test), linear(Y_test))]
    assert errors[0] < 1.02 * errors[1]


def test_a_penalty_of_ones_own_is_not_integrated():
    class Doubled(DivergenceLoss):
        def __call__(self, network, x, z):
            return 2 * super().__call__(network, x, z)

    class Firm(DivergenceLoss):
        decay = 1000.0

    assert Doubled(0.1).integrated() is None
    loss = Firm(0.1)
    assert type(loss.integrated()) is Firm
    assert loss.integrated().epsilon == 0.1
    assert loss.integrated()._is_integrated
    assert not loss._is_integrated


@pytest.mark.parametrize("operator", [np.array([[1.0, 0.3], [0.0, 0.6], [0.2, 0.2]]), None])
def test_integrated_losses_have_the_mean_of_the_loss(operator):
    """Over draws of the prior, with the noise of targets that are as measured."""
    data = make_bimodal(500, operator=operator, noise_level=0.4, random_state=0)
    options = {"prior_bandwidth": 0.0, "max_iter": 9, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=operator, **options).fit(data.X, data.Y)
    specification, trained = training_specification(estimator), estimator._trained()
    problem, pairs = trained.problem, Pairs(data.X, data.Y, np.ones(500))
    objective = objective_of(specification, trained, DivergenceLoss, pairs, "lbfgs")
    forward, epsilon = problem.unit_forward.matrix(objective.x).numpy(), problem.unit_epsilon
    prior = SmoothedPrior.fit(
        objective.x.numpy(), pairs.weight, n_clusters=2, bandwidth=1.0, forward=forward,
        epsilon=epsilon, random_state=0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    objective = drawn_from(objective, prior, problem)
    drawn = objective.random_samples(200_000, generator)
    targets = drawn.x @ torch.from_numpy(forward.T)
    if operator is None:
        white = torch.randn(targets.shape, generator=generator, dtype=torch.float64)
        targets += white @ torch.from_numpy(problem.unit_noise.T)
    with torch.no_grad():
        expected = float(DivergenceLoss(epsilon)(trained.network, drawn.x, targets).mean())
        found = float(drawn.mean_loss(trained.network))
    assert found == pytest.approx(expected, abs=0.006)  # the constant is of a few draws


def test_dear_draws_are_seen_twice_in_other_company():
    draws = MagicMock(uses=2, draw=lambda rows, generator: (rows, rows))
    draws.rows = lambda n, generator: torch.randn(n, 1, generator=generator)
    x = torch.zeros(100, 1)
    objective = Objective(None, x, x, x[:, 0], kernels=draws)
    n_batches, batches = objective.iteration(32, torch.Generator().manual_seed(0))
    first, *others = (batch.x for batch in batches)
    assert n_batches == FRESH_STEPS == 1 + len(others)
    assert (torch.cat([first, *others]).unique(return_counts=True)[1] == 2).all()
    assert not any((first == other).all() for other in others)
