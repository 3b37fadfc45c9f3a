"""One contract for every branch, one or several blocks: derivatives, bounds, inversion."""

import numpy as np
import pytest
import torch

from helpers import shake
from skinvbayes.inversion import implicit_inverse, invert
from skinvbayes.inversion.invertible import sample_stride
from skinvbayes.networks import IResNet, ResidualBlock
from skinvbayes.networks.gradient import GradientBlock
from skinvbayes.numerics import jacobians


class CosineBlock(ResidualBlock):
    """A user's own branch, with no closed form."""

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        weight = torch.randn(n_features, n_features, generator=generator)
        self.weight = torch.nn.Parameter(weight)

    def residual(self, x):
        weight = self.weight / torch.linalg.matrix_norm(self.weight, 2).clamp(min=1)
        return self.max_lipschitz * torch.cos(x @ weight.T)

    def lipschitz(self):
        return self.max_lipschitz * torch.linalg.matrix_norm(self.weight, 2).clamp(max=1)


CASES = [
    ("gradient", 1, (7,), 3),
    ("gradient", 3, (7,), 3),
    ("gradient", 1, (5,), 1),
    ("gradient", 1, (4,), 6),
    ("mlp", 1, (7, 6), 3),
    ("mlp", 2, (7, 6), 3),
    ("mlp", 1, (8,), 3),
    ("mlp", 1, (5, 6, 7), 2),
    (CosineBlock, 2, (), 3),
    ("gradient", 1, (20,), 12),
    ("gradient", 2, (5,), 12),
    ("mlp", 2, (6, 5), 12),
    ("mlp", 1, (15, 14), 12),
]


@pytest.fixture
def few_features_of_matrices(monkeypatch):
    """As for more than 1,000 features, in less time."""
    monkeypatch.setattr(GradientBlock, "most_features_of_matrices", 256)


def make_network(residual, n_blocks, sizes, n_features, lipschitz=0.95, spread=0.5):
    """A network with weights far from their initial values."""
    generator = torch.Generator().manual_seed(1)
    network = IResNet(
        n_features,
        residual=residual,
        n_blocks=n_blocks,
        hidden_layer_sizes=sizes,
        lipschitz=lipschitz,
        generator=generator,
    ).double()
    shake(network, spread, generator)
    x = torch.randn(40, n_features, generator=generator, dtype=torch.float64)
    return network, x


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}-{case[3]}")
def case(request):
    return make_network(*request.param)


def parameter_gradient(network, value):
    gradients = torch.autograd.grad(value, list(network.parameters()), allow_unused=True)
    zeros = (torch.zeros_like(p) for p in network.parameters())
    pairs = zip(gradients, zeros, strict=True)
    return torch.cat([(z if g is None else g).ravel() for g, z in pairs])


@pytest.mark.parametrize(
    ("closed_form", "by_autograd"),
    [
        (IResNet.jacobian, lambda n, x: jacobians.jacobian(n.forward, x)),
        (IResNet.divergence, lambda n, x: jacobians.divergence(n.forward, x)),
        (IResNet.logabsdet, lambda n, x: jacobians.logabsdet(jacobians.jacobian(n.forward, x))),
    ],
    ids=["jacobian", "divergence", "logabsdet"],
)
def test_closed_forms_equal_autograd(case, closed_form, by_autograd):
    network, x = case
    fast, exact = closed_form(network, x), by_autograd(network, x)
    torch.testing.assert_close(fast, exact, rtol=1e-10, atol=1e-10)
    probe = torch.randn(fast.shape, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(
        parameter_gradient(network, (probe * fast).sum()),
        parameter_gradient(network, (probe * exact).sum()),
        rtol=1e-9,
        atol=1e-10,
    )


@pytest.mark.parametrize("lipschitz", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_certified_bound_holds(arguments, lipschitz):
    network, _ = make_network(*arguments, lipschitz=lipschitz, spread=2.0)
    generator = torch.Generator().manual_seed(2)
    for block, bound in zip(network.blocks, network.lipschitz(), strict=True):
        assert bound <= lipschitz
        x = 3 * torch.randn(20_000, network.n_features, generator=generator).double()
        step = 10 ** (2 * torch.rand(20_000, 1, generator=generator).double() - 2)
        y = x + step * torch.randn(x.shape, generator=generator).double()
        ratio = (block.residual(x) - block.residual(y)).norm(dim=1) / (x - y).norm(dim=1)
        assert ratio.max() <= bound * (1 + 1e-9)
        recomposed = block.scale() * (x - block.residual(x)) + block.shift
        torch.testing.assert_close(block(x), recomposed)


def test_gradient_block_spectrum_lies_in_its_bounds():
    network, x = make_network("gradient", 1, (7,), 3, spread=2.0)
    jacobian = network.jacobian(x)
    torch.testing.assert_close(jacobian, jacobian.transpose(1, 2))
    spectrum = torch.linalg.eigvalsh(jacobian)
    a, b = network.blocks[0].bounds()
    assert 0 < a <= spectrum.min()
    assert spectrum.max() <= b
    assert b <= network.magnitude()


@pytest.mark.usefixtures("few_features_of_matrices")
@pytest.mark.parametrize("n_units", [1, 4, 5, 310])
def test_scalar_slope_of_large_networks(n_units, n_features=300):
    network, x = make_network("gradient", 1, (n_units,), n_features, spread=0.05)
    assert network.blocks[0].factor.ndim == 0
    fast = network.divergence(x[:2])
    exact = jacobians.divergence(network.forward, x[:2])
    torch.testing.assert_close(fast, exact, rtol=1e-10, atol=1e-10)
    spectrum = torch.linalg.eigvalsh(network.jacobian(x).detach())
    a, b = network.blocks[0].bounds()
    assert 0 < a <= spectrum.min() * (1 + 1e-9)
    assert spectrum.max() <= b * (1 + 1e-9)
    exact = np.linalg.slogdet(network.jacobian(x).detach().numpy())[1]  # two threads of torch err
    torch.testing.assert_close(
        network.logabsdet(x).detach(), torch.from_numpy(exact), rtol=1e-10, atol=1e-10
    )


@pytest.mark.usefixtures("few_features_of_matrices")
@pytest.mark.parametrize(("n_features", "n_units"), [(12, 5), (12, 20), (300, 4), (300, 310)])
def test_logabsdet_is_estimated_from_the_first_order(n_features, n_units):
    network, x = make_network("gradient", 1, (n_units,), n_features, spread=0.05)
    jacobian = network.jacobian(x)
    first_order = (torch.linalg.inv(jacobian.mean(0)) * jacobian).sum((1, 2))
    estimate = network.call_and_logabsdet(x, 1)[1]
    torch.testing.assert_close(estimate[1:], first_order[1:])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("lipschitz", [0.5, 0.999])
@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_newton_inverts(arguments, lipschitz, dtype):
    network, x = make_network(*arguments, lipschitz=lipschitz)
    steepest = torch.linalg.matrix_norm(torch.linalg.inv(network.jacobian(x)), 2).max().item()
    network, x = network.to(dtype), x.to(dtype)
    found = invert(network, network(x).detach())
    assert found.converged.all()
    tolerance = {torch.float64: 1e-10, torch.float32: 3e-4}[dtype]
    residual = found.residual.max().item()  # becomes an error by the slopes of the inverse
    assert (found.x - x).abs().max() <= max(tolerance * x.abs().max(), 2 * steepest * residual)
    rounding = 100 * torch.finfo(dtype).eps * network(x).norm(dim=1).max()
    assert residual <= rounding


@pytest.mark.parametrize("n_units", [30, 230])
@pytest.mark.parametrize("lipschitz", [0.9, 0.999])
def test_inversion_without_jacobians(n_units, lipschitz, monkeypatch):
    """Of many features nothing of n_features² numbers is formed for a row."""
    network, x = make_network("gradient", 1, (n_units,), 200, lipschitz=lipschitz, spread=0.1)
    monkeypatch.setattr(type(network.blocks[0]), "jacobian", None)
    found = invert(network, network(x).detach())
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=1e-8, atol=1e-8)


def test_frozen_networks_compute_what_is_constant_once(case, monkeypatch):
    network, x = case
    counted = []
    for block in network.blocks:
        constants = block.constants
        monkeypatch.setattr(
            block, "constants", lambda known=constants: counted.append(1) or known()
        )
    with torch.no_grad():
        expected = network(x)
        counted.clear()
        frozen = network.frozen()
        assert frozen.frozen() is frozen
        assert torch.equal(frozen(x), expected)
        torch.testing.assert_close(frozen.jacobian(x), frozen.jacobian(x))
        assert len(counted) == len(network.blocks)
        for parameter in network.parameters():
            parameter.mul_(1.5)
        assert not torch.allclose(network(x), expected)


def test_fixed_point_agrees_with_newton(case):
    network, x = case
    z = network(x).detach()
    slow = invert(network, z, method="fixed_point", max_iter=3000, tol=1e-12)
    assert slow.converged.all()
    torch.testing.assert_close(slow.x, invert(network, z).x, rtol=1e-8, atol=1e-8)
    assert invert(network, z).n_iter.max() < slow.n_iter.max()


def test_inversion_confesses(case):
    network, x = case
    z = network(x).detach()
    hasty = invert(network, z, start=x + 10, max_iter=1, method="fixed_point", tol=0.0)
    assert not hasty.converged.all()
    true_residual = (network(hasty.x) - z).norm(dim=1)
    torch.testing.assert_close(hasty.residual, true_residual)
    assert (hasty.n_iter >= len(network.blocks)).all()
    exact = invert(network, z, start=x)
    assert exact.converged.all()
    assert exact.n_iter.max() <= 2 * len(network.blocks)


def test_invert_rejects_unknown_method(case):
    network, x = case
    with pytest.raises(ValueError, match="method must be one of"):
        invert(network, x, method="bisection")


def test_implicit_gradient_equals_finite_differences(case):
    network, x = case
    z = network(x).detach()

    def value():
        return implicit_inverse(network, z, x + 0.1).square().sum()

    gradient = parameter_gradient(network, value())
    parameters = list(network.parameters())
    vector = torch.nn.utils.parameters_to_vector(parameters).detach()
    direction = torch.randn(vector.shape, generator=torch.Generator().manual_seed(3)).double()
    values = []
    for step in (1e-5, -1e-5):
        torch.nn.utils.vector_to_parameters(vector + step * direction, parameters)
        values.append(value().item())
    difference = (values[0] - values[1]) / 2e-5
    assert gradient @ direction == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_hutchinson_is_unbiased_and_reproducible(case):
    network, x = case

    def estimate(seed, n_probes):
        generator = torch.Generator().manual_seed(seed)
        return jacobians.hutchinson_divergence(
            network.forward, x, n_probes=n_probes, generator=generator
        )

    before = torch.random.get_rng_state()
    assert torch.equal(estimate(0, 2), estimate(0, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    off_diagonal = network.jacobian(x)
    off_diagonal = off_diagonal - torch.diag_embed(off_diagonal.diagonal(dim1=1, dim2=2))
    symmetric = off_diagonal + off_diagonal.transpose(1, 2)
    deviation = (symmetric.square().sum((1, 2)) / 2 / 400).sqrt()
    error = (estimate(1, 400) - network.divergence(x)).abs()
    assert (error <= 5 * deviation + 1e-12).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_solve_is_differentiable(n):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(5, n, n, generator=generator, dtype=torch.float64) + 4 * torch.eye(n)
    vectors = torch.randn(5, n, generator=generator, dtype=torch.float64)
    for arguments in ((matrices, vectors), (matrices.transpose(1, 2), vectors)):
        torch.testing.assert_close(jacobians.solve(*arguments), torch.linalg.solve(*arguments))
    assert torch.autograd.gradcheck(
        jacobians.solve, (matrices.requires_grad_(), vectors.requires_grad_())
    )


def test_batched_solve_above_the_size_where_two_threads_hang():
    network, x = make_network("mlp", 1, (8,), 160, spread=0.02)
    assert invert(network, network(x).detach()).converged.all()


def test_sharpness_is_limited_in_training_mode_too():
    """Beyond the limit it has no effect, and no gradient."""
    network, x = make_network("gradient", 1, (7,), 3)
    block = network.blocks[0]
    log_sharpness = block.log_sharpness
    with torch.no_grad():  # so sharp that only units of small weight keep the bounds of size one
        log_sharpness[:2] = torch.tensor([31.0, 60.0])
        block.weight[:2] *= 1e-7
        block.bias[:2] *= 1e-7
    gradients = []
    assert block.bounds()[1] < 1e3
    for training in (False, True):
        image, divergence = network.train(training).call_and_divergence(x, len(x))
        value = image.square().sum() - divergence.sum()
        gradients.append(torch.autograd.grad(value, log_sharpness)[0])
    torch.testing.assert_close(*gradients)
    assert (gradients[1][:2] == 0).all()
    assert (gradients[1][2:] != 0).all()


def test_averaged_jacobians(case):
    """The closed forms are averages over the same rows, seen from the hidden units too."""
    network, x = case
    block, rows = network.blocks[-1], torch.cat([x, 2 * x, x - 1])
    average = block.jacobian(rows[:: sample_stride(rows)]).mean(0)
    torch.testing.assert_close(block.mean_jacobian(rows), average)
    form = block.hidden_units()
    if form is not None:
        linear = torch.linalg.inv(form.divide(torch.eye(len(average), dtype=torch.float64)))
        slope = form.mean_slope(form.preactivation(rows))
        torch.testing.assert_close(linear + form.outer.T @ slope.T @ form.inner, average)


@pytest.mark.parametrize("arguments", [case for case in CASES if case[0] == "gradient"], ids=str)
def test_corrected_inverse(arguments):
    """Better than what it corrects."""
    network, x = make_network(*arguments)
    block = network.blocks[0]
    inverse = torch.linalg.inv(block.mean_jacobian(x))
    slopes = block.call_and_slopes(x)[1]
    exact = torch.linalg.solve(block.jacobian(x), x)
    fast = block.corrected_inverse(inverse, x)(x, slopes)
    before, after = ((found - exact).norm() for found in (x @ inverse, fast))
    assert after < before or before < 1e-12


@pytest.mark.usefixtures("few_features_of_matrices")
@pytest.mark.parametrize("n_units", [4, 310])
def test_training_mode_of_large_networks(n_units):
    """Where L is a number."""
    network, x = make_network("gradient", 1, (n_units,), 300, spread=0.2)
    assert network.blocks[0].factor.ndim == 0
    assert_training_mode_gives_the_same(network, x)


def test_training_mode_gives_the_same(case):
    assert_training_mode_gives_the_same(*case)


def assert_training_mode_gives_the_same(network, x):
    """Fused or followed: values and gradients in training mode are those of eval mode."""
    results = []
    for training in (False, True):
        network.train(training)
        image, divergence = network.call_and_divergence(x, len(x))
        weights = torch.linspace(-1, 1, len(x), dtype=torch.float64)
        value = (image.square().sum(1) + weights * divergence).sum()
        results.append((image, divergence, parameter_gradient(network, value)))
    for exact, fast in zip(*results, strict=True):
        scale = float(exact.abs().max())
        torch.testing.assert_close(fast, exact, rtol=1e-8, atol=1e-8 * max(1, scale))


def test_estimated_divergence_is_unbiased(case):
    """Value and gradient, averaged over all choices of the exact rows, are those of all exact."""
    network, x = case
    x, n_exact = x[:12], 3
    exact = network.divergence(x).mean()
    expected = parameter_gradient(network, exact)
    network.train()
    mean = 0
    for turn in range(len(x) // n_exact):
        _, divergence = network.call_and_divergence(x.roll(n_exact * turn, 0), n_exact)
        mean = mean + divergence.mean() * n_exact / len(x)
    torch.testing.assert_close(mean, exact, rtol=1e-9, atol=1e-9)
    gradient = parameter_gradient(network, mean)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("n_exact", [1, 4, 12])
def test_few_rows_suffice_for_the_divergence(n_exact):
    """The mean is off by little of what the rows differ by; by nothing where all are exact."""
    network, x = make_network("mlp", 1, (7, 6), 3)
    exact = network.divergence(x[:12])
    _, estimate = network.train().call_and_divergence(x[:12], n_exact)
    error = (estimate.mean() - exact.mean()).abs() / exact.std()
    assert error < 1e-12 if n_exact == 12 else 1e-9 < error < 0.1


def test_estimated_logabsdet_is_unbiased(case):
    """Value and gradient, averaged over all choices of the exact rows, are those of all exact."""
    network, x = case
    x, n_exact = x[:12], 3
    exact = network.logabsdet(x).mean()
    estimates = [
        network.call_and_logabsdet(x.roll(n_exact * turn, 0), n_exact)[1].mean()
        for turn in range(len(x) // n_exact)
    ]
    mean = torch.stack(estimates).mean()
    assert len(network.blocks) > 1 or max(estimates) - min(estimates) > 1e-6
    torch.testing.assert_close(mean, exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        parameter_gradient(network, mean), parameter_gradient(network, exact), rtol=1e-7, atol=1e-8
    )
