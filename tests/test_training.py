"""Solvers over any loss: what they record, restore and say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skinvbayes.training.mean_loss import Objective
from skinvbayes.training.optimize import minimize


class Line(torch.nn.Linear):
    def for_step(self):
        return self

    def weight_penalty(self):
        return self.weight.square().sum()


class SquaredError:
    """½|network(x) − z|², not a number from the n-th call on."""

    def __init__(self, fails_at=np.inf):
        self.calls, self.fails_at = 0, fails_at

    def __call__(self, network, x, z):
        self.calls += 1
        return (
            0.5 * (network(x) - z).square().sum(1) * (np.nan if self.calls >= self.fails_at else 1)
        )


def make_objective(loss=None, **kwargs):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator).double()
    z = x @ torch.tensor([[2.0, 1.0], [0.0, 1.0]]).double()
    network = Line(2, 2).double()
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.zeros_(network.bias)
    weight = torch.ones(200).double()
    return network, Objective(loss or SquaredError(), x, z, weight, **kwargs)


@pytest.mark.parametrize("options", [{"solver": "lbfgs"}, {"solver": "adam", "batch_size": 20}])
def test_solvers_find_least_squares(options):
    network, objective = make_objective()
    generator = torch.Generator().manual_seed(0)
    history = minimize(network, objective, learning_rate_init=0.1, generator=generator, **options)
    expected = torch.tensor([[2.0, 0.0], [1.0, 1.0]]).double()
    torch.testing.assert_close(network.weight.detach(), expected, rtol=1e-3, atol=1e-3)
    assert history.best_loss == min(history.loss_curve) < 1e-5


def test_decay_shrinks_and_is_left_out_of_the_history():
    network, objective = make_objective(decay=0.5)
    history = minimize(network, objective, solver="lbfgs")
    covariance = objective.x.T @ objective.x / 200 - torch.outer(*[objective.x.mean(0)] * 2)
    cross = objective.x.T @ objective.z / 200 - torch.outer(
        objective.x.mean(0), objective.z.mean(0)
    )
    expected = torch.linalg.solve(covariance + torch.eye(2).double(), cross).T
    torch.testing.assert_close(network.weight.detach(), expected, rtol=1e-4, atol=1e-4)
    assert history.loss_curve[-1] == pytest.approx(objective.mean_loss(network).item(), rel=1e-9)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_divergence_warns_and_restores_the_best_weights(solver):
    network, objective = make_objective(SquaredError(fails_at=8))
    with pytest.warns(ConvergenceWarning, match="Training diverged after iteration"):
        history = minimize(
            network, objective, solver=solver, batch_size=200, learning_rate_init=0.1
        )
    assert not network.training
    objective.loss.fails_at = np.inf
    assert objective.mean_loss(network).item() == pytest.approx(history.best_loss, rel=0.5)
    assert objective.mean_loss(network) < objective.mean_loss(make_objective()[0])


def test_early_stopping_restores_the_best_weights():
    network, objective = make_objective()
    validation = objective.split(torch.arange(5))
    history = minimize(
        network,
        objective.split(torch.arange(5, 200)),
        validation=validation,
        solver="adam",
        batch_size=10,
        learning_rate_init=2.0,
        n_iter_no_change=5,
        generator=torch.Generator().manual_seed(0),
    )
    curve = history.validation_loss_curve
    assert validation.mean_loss(network).item() == history.best_loss == min(curve)


def test_training_mode_lasts_for_the_steps_of_adam():
    network, objective = make_objective()
    modes = {"step": set(), "callback": set()}

    def loss(network, x, z):
        modes["step"].add(network.training)
        return SquaredError()(network, x, z)

    objective.loss = loss
    minimize(
        network,
        objective,
        solver="adam",
        max_iter=2,
        callback=lambda history: modes["callback"].add(network.training),
    )
    assert modes == {"step": {True}, "callback": {False}}
    assert not network.training


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_a_loss_that_is_never_finite_is_an_error(solver):
    network, objective = make_objective(SquaredError(fails_at=0))
    with pytest.raises(ValueError, match="Lower learning_rate_init"):
        minimize(network, objective, solver=solver)


def test_jitter_moves_signals_and_targets_together():
    matrix = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).double()
    factor = torch.tensor(0.5).double()
    _, objective = make_objective(jitter=factor, forward=lambda rows: rows @ matrix.T)
    moved = objective.drawn(torch.Generator().manual_seed(0))
    jitter = moved.x - objective.x
    torch.testing.assert_close(moved.z - objective.z, jitter @ matrix.T)
    assert jitter.std().item() == pytest.approx(0.5, rel=0.1)
    again = objective.drawn(torch.Generator().manual_seed(0))
    assert torch.equal(moved.x, again.x)
    stays = replace(objective, forward=None).drawn(torch.Generator().manual_seed(0))
    assert torch.equal(stays.x, moved.x) and torch.equal(stays.z, objective.z)


def test_progress_is_called_after_every_iteration():
    network, objective = make_objective()
    seen = []
    history = minimize(
        network,
        objective,
        solver="lbfgs",
        max_iter=4,
        callback=lambda h: seen.append(h.loss_curve[-1]),
    )
    assert seen == history.loss_curve
