"""A loss, an estimator and a branch from outside the package: one class each, public names only."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.nn import functional as F

from helpers import PREDICT_TAKES_MEASUREMENTS, STRICT_CHECKS, every, examine, rmse
from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.diagnostics import optimal_prior_term
from skinvbayes.estimators import BaseINN, BaseRegularizedINN
from skinvbayes.losses import DivergenceLoss, Loss
from skinvbayes.networks import MonotoneBlock
from skinvbayes.networks.mlp import MLPBlock
from skinvbayes.problem import InverseProblem


class HuberLoss(Loss):
    """Outliers of z count with their size, not with its square."""

    first_stage = DivergenceLoss

    def __call__(self, network, x, z):
        return F.huber_loss(network(x), z, reduction="none").sum(1)


class HalfDivergenceLoss(DivergenceLoss):
    """The same as the divergence loss for half of epsilon."""

    @classmethod
    def for_problem(cls, epsilon, problem):
        return super().for_problem(epsilon / 2, problem)


class HuberINN(BaseINN):
    loss = HuberLoss


class HalfINN(BaseRegularizedINN):
    loss = HalfDivergenceLoss


class TanhBlock(MonotoneBlock):
    """The gradient of Σ log cosh(w_j·x + b_j)."""

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        weight = torch.randn(*hidden_layer_sizes, n_features, generator=generator)
        self.weight = torch.nn.Parameter(weight / 4)
        self.offset = torch.nn.Parameter(torch.zeros(hidden_layer_sizes))

    def call_and_slopes(self, x):
        units = torch.tanh(x @ self.weight.T + self.offset)
        image = units @ self.weight + self.spectral_shift() * x + self.shift
        return image, 1 - units**2

    def product_from(self, slopes, dtype=None):
        shift, weight = self.spectral_shift().to(slopes), self.weight.to(slopes)
        return lambda v: ((v @ weight.T) * slopes) @ weight + shift * v

    def free_bounds(self):
        norm = torch.linalg.matrix_norm(self.weight, 2)
        return norm.new_zeros(1), norm**2


EXTENSIONS = [
    HuberINN(max_iter=3),
    HalfINN(max_iter=3),
    DivergenceRegularizedINN(residual=TanhBlock, max_iter=3),
    HuberINN(residual=TanhBlock, max_iter=3),
]
extensions = pytest.mark.parametrize("estimator", EXTENSIONS, ids=repr)


@parametrize_with_checks(
    EXTENSIONS[1::2],  # both kinds of estimators, both kinds of branches
    expected_failed_checks=lambda estimator: PREDICT_TAKES_MEASUREMENTS,
    **STRICT_CHECKS,
)
def test_scikit_learn(estimator, check):
    examine(estimator, check)


@extensions
@pytest.mark.parametrize("d", [2, 12])
def test_all_that_an_estimator_does(estimator, d):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, d))
    Y = X + 0.3 * rng.standard_normal(X.shape)
    estimator = clone(estimator).set_params(random_state=0, max_iter=20).fit(X, Y)
    assert isinstance(estimator.problem_, InverseProblem)
    assert estimator.score(X, Y) > 0.7
    found, std = estimator.predict(Y, return_std=True)
    np.testing.assert_allclose(estimator.inverse_transform(estimator.transform(X)), X, atol=1e-8)
    lower, upper = estimator.posterior_interval(Y)
    assert 0.8 < ((lower <= X) & (upper >= X)).mean() <= 1
    assert std.shape == found.shape
    assert estimator.sample_posterior(Y[:5], 3, random_state=0).shape == (5, 3, d)
    loaded = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(loaded.predict(Y), found)
    curve = loaded.partial_fit(X, Y).loss_curve_
    assert len(curve) == estimator.n_iter_ + 1
    n_iter = estimator.n_iter_
    estimator.set_params(warm_start=True, max_iter=2).fit(X, Y)
    assert n_iter < estimator.n_iter_ <= n_iter + 2


def test_the_weight_of_a_new_loss_counts():
    data = make_bimodal(500, noise_level=0.3, random_state=0)
    half = HalfINN(0.2, random_state=0, max_iter=30).fit(data.X, data.Y)
    same = DivergenceRegularizedINN(0.1, random_state=0, max_iter=30).fit(data.X, data.Y)
    other = DivergenceRegularizedINN(0.2, random_state=0, max_iter=30).fit(data.X, data.Y)
    # the coordinates depend on epsilon, so that trainings differ a little
    difference = rmse(half.predict(data.Y), same.predict(data.Y))
    assert difference < 0.05 * rmse(other.predict(data.Y), same.predict(data.Y))


# ------------------------------------------------------------- the names of the package's branches


@every
def test_a_branch_by_name_or_as_a_class(cls, pairs):
    X, Y = pairs
    named = cls(residual="mlp", max_iter=4, random_state=0).fit(X, Y)
    given = cls(residual=MLPBlock, max_iter=4, random_state=0).fit(X, Y)
    assert named.network_.config == given.network_.config
    np.testing.assert_array_equal(named.predict(Y), given.predict(Y))
    assert named.loss_curve_ == given.loss_curve_
    named.set_params(residual=MLPBlock, warm_start=True).fit(X, Y)
    given.set_params(residual="mlp", warm_start=True).fit(X, Y)
    np.testing.assert_array_equal(named.predict(Y), given.predict(Y))


def test_what_the_page_on_extending_says_runs():
    """Its blocks, one after the other, give an estimator that fits and predicts."""
    page = Path(__file__).parents[1] / "docs/extending.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    names = {}
    exec("\n".join(blocks), names)
    data = make_bimodal(200, noise_level=0.3, random_state=0)
    for branch in ("gradient", names["LinearBlock"]):
        estimator = names["HuberINN"](residual=branch, max_iter=5, random_state=0)
        assert estimator.fit(data.X, data.Y).predict(data.Y).shape == data.X.shape


def test_the_theory_knows_an_estimator_by_its_loss():
    """The optimum of the divergence loss is that of every estimator trained by it."""
    data = make_bimodal(200, noise_level=0.3, random_state=0)
    parameters = {"epsilon": 0.09, "max_iter": 3, "random_state": 0}
    own = HalfINN(**parameters).fit(data.X, data.Y)
    known = DivergenceRegularizedINN(**parameters).fit(data.X, data.Y)
    for estimator in (own, known):
        term = optimal_prior_term(estimator, data.X[:5], data.prior)
        np.testing.assert_allclose(term, 0.09 * data.prior.score(data.X[:5]))
    with pytest.raises(TypeError, match="four losses; got HuberINN"):
        optimal_prior_term(HuberINN(max_iter=1).fit(data.X, data.Y), data.X, data.prior)
