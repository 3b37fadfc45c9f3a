"""Fresh noise in every step, and training that ends where it should."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from helpers import rmse
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.oracles import posterior_mean
from skinvbayes.problem.measurement import residuals_are_white
from skinvbayes.training.adam import Adam, Annealing
from skinvbayes.training.mean_loss import Objective
from skinvbayes.training.optimize import History

# ------------------------------------------------------------------------------------ fresh noise


def test_residuals_that_look_like_white_noise(rng):
    X, noise = rng.standard_normal((2, 1500, 4))
    ones = np.ones(1500)
    assert residuals_are_white(noise, X, ones)
    assert residuals_are_white(0 * noise, X, ones)
    mixed = noise @ (np.eye(4) + 0.5 * np.eye(4, k=1))
    assert not residuals_are_white(mixed, X, ones)
    assert not residuals_are_white(noise * [1, 1, 1, 2], X, ones)
    assert not residuals_are_white(noise * (1 + np.abs(X[:, :1])), X, ones)
    assert not residuals_are_white(noise + 0.5 * X**2, X, ones)
    assert not residuals_are_white(rng.standard_t(2, noise.shape), X, ones)


def test_few_pairs_are_rarely_taken_for_colored(rng):
    found = [
        residuals_are_white(*rng.standard_normal((2, n, d)), np.ones(n))
        for n in (20, 60, 200)
        for d in (1, 3, 12)
        for _ in range(30)
    ]
    assert np.mean(found) > 0.95


def test_noise_is_fresh_in_every_draw():
    x, z = torch.zeros(2, 50, 3)
    factor = 0.5 * torch.eye(3)
    objective = Objective(None, x, z, torch.ones(50), noise=factor)
    generator = torch.Generator().manual_seed(0)
    first, second = objective.drawn(generator), objective.drawn(generator)
    assert not torch.equal(first.z, second.z)
    assert torch.equal(first.x, x) and not first.is_random
    copies = objective.replicated(40).drawn(generator)
    assert len(copies.z) == 2000
    torch.testing.assert_close(copies.z.std(0), torch.full((3,), 0.5), rtol=0.1, atol=0)


def test_unequal_noise_is_taken_from_the_pairs(rng):
    """White noise of the same size would be the wrong one: the better channel tells more."""
    data = make_bimodal(2000, noise_level=0.3, random_state=0)
    sizes = np.array([0.1, 0.7])
    Y, Y_new = (data.X + sizes * rng.standard_normal((2000, 2)) for _ in range(2))
    estimator = ReconstructionINN(operator=np.eye(2), max_iter=20, random_state=0).fit(data.X, Y)
    whitened = posterior_mean(data.prior, Y_new / sizes, operator=np.diag(1 / sizes), noise_level=1)
    assert rmse(estimator.predict(Y_new), data.X) < 1.25 * rmse(whitened, data.X)


# -------------------------------------------------------------------------------- ends of training


def test_annealing_is_finished():
    """The step size falls to zero, also where training stalls before its time."""
    for stalls_at in (None, 30):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = Adam([parameter], 1.0)
        schedule, sizes, ended = Annealing(optimizer, 100), [], False
        while not ended:
            for share in (0.0, 0.5):
                schedule.set_step(share)
                sizes.append(optimizer.learning_rate)
            ended = schedule.ends_after(schedule.n_iter + 1 == stalls_at)
        assert len(sizes) == (200 if stalls_at is None else 80)
        assert np.all(np.diff(sizes) <= 1e-9) and sizes[0] == 1.0
        assert sizes[-1] < 0.01
        assert stalls_at is None or sizes[59] > 0.75


def test_a_training_that_still_improves_is_told():
    data = make_bimodal(300, noise_level=0.2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        DivergenceRegularizedINN(max_iter=9, random_state=0).fit(data.X, data.Y)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        DivergenceRegularizedINN(max_iter=4, solver="adam", random_state=0).fit(data.X, data.Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        DivergenceRegularizedINN(random_state=0).fit(data.X, data.Y)
        ReconstructionINN(random_state=0).fit(data.X, data.Y)


def test_improvement_is_told_from_fluctuation():
    rng = np.random.default_rng(0)
    falling = np.exp(-np.arange(50) / 40) + 1e-4 * rng.standard_normal(50)
    assert History(list(falling)).still_improves()
    flat = np.exp(-np.arange(50) / 3) + 1e-2 * rng.standard_normal(50)
    assert not History(list(flat)).still_improves()
    assert not History([1.0]).still_improves()


def test_histories_follow_each_other():
    first, second = (
        History([3.0, 2.0], best_loss=2.0),
        History([5.0, 4.0], [1.0, 0.5], best_loss=4.0),
    )
    both = first.followed_by(second)
    assert both.loss_curve == [3.0, 2.0, 5.0, 4.0]
    assert np.isnan(both.validation_loss_curve[:2]).all() and both.best_loss == 4.0
    assert both.validation_loss_curve[2:] == [1.0, 0.5]
    assert replace(first).loss_curve == [3.0, 2.0]
