"""The contract for maps: a subclass that defines only what its base asks for does all the rest."""

import numpy as np
import pytest
import torch

from helpers import ALL
from skinvbayes.inversion import InvertibleMap, invert
from skinvbayes.networks import IResNet, MonotoneBlock, ResidualBlock
from skinvbayes.numerics import jacobians


class Plain(MonotoneBlock):
    """The gradient of Σ log cosh(w_j·x); slopes are the points, products come from autograd."""

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        weight = torch.randn(*hidden_layer_sizes, n_features, generator=generator)
        self.weight = torch.nn.Parameter(weight / weight.norm())

    def call_and_slopes(self, x):
        units = torch.tanh(x @ self.weight.T)
        return units @ self.weight + self.spectral_shift() * x + self.shift, x

    def free_bounds(self):
        norm = torch.linalg.matrix_norm(self.weight, 2)
        return norm.new_zeros(1), norm**2


class WithSlopes(Plain):
    """The same with the slopes of the units, and products from these."""

    def call_and_slopes(self, x):
        image, _ = super().call_and_slopes(x)
        return image, 1 - torch.tanh(x @ self.weight.T) ** 2

    def product_from(self, slopes, dtype=None):
        slopes = slopes.to(dtype)
        weight, shift = self.weight.to(slopes), self.spectral_shift().to(slopes)
        return lambda v: ((v @ weight.T) * slopes) @ weight + shift * v


class Linear(ResidualBlock):
    """f(x) = L R x / max(1, ‖R‖), with nothing but residual and lipschitz."""

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        weight = torch.randn(n_features, n_features, generator=generator)
        self.weight = torch.nn.Parameter(weight / n_features)

    def residual(self, x):
        return self.max_lipschitz * x @ (self.weight / self._norm().clamp(min=1)).T

    def lipschitz(self):
        return self.max_lipschitz * self._norm().clamp(max=1)

    def _norm(self):
        return torch.linalg.matrix_norm(self.weight, 2)


class Cubic(InvertibleMap):
    """x ↦ x + x³, coordinate by coordinate: a map with nothing but its values."""

    positive_definite = True

    def forward(self, x):
        return x + x**3


def test_a_map_needs_nothing_but_its_values():
    x = torch.linspace(-2, 2, 60, dtype=torch.float64).reshape(5, 12)
    for n_features in (2, 12):
        points = x[:, :n_features]
        found = invert(Cubic(), points + points**3)
        assert found.converged.all()
        torch.testing.assert_close(found.x, points, rtol=1e-10, atol=1e-10)
    slopes = Cubic().call_and_slopes(x)[1]
    torch.testing.assert_close(Cubic().jacobian_from(slopes), Cubic().jacobian(x))


@pytest.mark.parametrize("cls", [Plain, WithSlopes])
@pytest.mark.parametrize("n_features", [1, 2, 8, 9, 40])
def test_what_a_monotone_block_inherits(cls, n_features):
    generator = torch.Generator().manual_seed(0)
    arguments = {"hidden_layer_sizes": (6,), "lipschitz": 0.9, "generator": generator}
    network = IResNet(n_features, residual=cls, **arguments).double()
    x = torch.randn(50, n_features, generator=generator, dtype=torch.float64)
    exact = jacobians.jacobian(network.forward, x)
    block = network.blocks[0]
    slopes = block.call_and_slopes(x)[1]
    torch.testing.assert_close(network.jacobian(x), exact)
    torch.testing.assert_close(block.jacobian_from(slopes), exact)
    torch.testing.assert_close(block.product_from(slopes)(x), (exact @ x[:, :, None])[:, :, 0])
    spectrum = torch.linalg.eigvalsh(exact)
    a, b = block.bounds()
    assert a <= spectrum.min() + 1e-12 and spectrum.max() <= b + 1e-12
    assert network.lipschitz() <= 0.9
    found = invert(network, network(x).detach())
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("residual", [Plain, WithSlopes, Linear])
@pytest.mark.parametrize("n_features", [1, 2, 8, 9, 20])
@pytest.mark.parametrize("cls", ALL)
def test_a_new_branch_trains_inverts_and_reports_uncertainty(cls, residual, n_features):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((150, n_features))
    Y = X + 0.3 * rng.standard_normal(X.shape)
    parameters = {"max_iter": 3, "residual": residual, "hidden_layer_sizes": 6}
    estimator = cls(operator=np.eye(n_features), random_state=0, **parameters).fit(X, Y)
    back = estimator.inverse_transform(estimator.transform(X))
    np.testing.assert_allclose(back, X, rtol=1e-7, atol=1e-7)
    std = estimator.posterior_std(Y[:5])
    covariance = estimator.posterior_covariance(Y[:5])
    np.testing.assert_allclose(std**2, np.diagonal(covariance, axis1=1, axis2=2))
    assert (std > 0).all()
    again = cls(operator=np.eye(n_features), random_state=0, **parameters).fit(X, Y)
    np.testing.assert_array_equal(estimator.predict(Y), again.predict(Y))
