"""Log-sum-exp units: closed forms, the certificate, and the starts in closed form."""

import math

import numpy as np
import pytest
import torch

from helpers import shake
from skinvbayes.inversion import invert
from skinvbayes.networks import IResNet
from skinvbayes.networks.gradient import GradientBlock
from skinvbayes.numerics import jacobians
from skinvbayes.operators import as_operator
from skinvbayes.oracles import posterior_mean
from skinvbayes.priors import GaussianMixturePrior
from skinvbayes.problem.clusters import ClusterPosterior
from skinvbayes.problem.tensor_operator import TensorOperator

# features, units, pieces, units that are subtracted
SHAPES = [
    (1, 3, 2, 1),
    (2, 4, 3, 2),
    (3, 1, 32, 0),
    (3, 2, 32, 2),
    (5, 4, 3, 4),
    (12, 6, 2, 0),
    (12, 3, 3, 1),
]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make_block(
    n_features,
    n_units,
    n_pieces,
    n_subtracted,
    *,
    lipschitz=0.95,
    spread=0.5,
    sharpness=1.0,
    seed=1,
):
    """A network of one block with weights far from their start, and points."""
    generator = torch.Generator().manual_seed(seed)
    network = IResNet(
        n_features,
        hidden_layer_sizes=(n_units,),
        lipschitz=lipschitz,
        block_options={"n_pieces": n_pieces, "n_subtracted": n_subtracted},
        generator=generator,
    ).double()
    shake(network, spread, generator)
    with torch.no_grad():
        network.blocks[0].log_sharpness.add_(math.log(sharpness))
    x = torch.randn(20, n_features, generator=generator, dtype=torch.float64)
    return network, x


@pytest.fixture(params=[False, True], ids=["blunt", "sharp"])
def sharpness(request):
    return 20.0 if request.param else 1.0


def of_parameters(network, value):
    gradients = torch.autograd.grad(value, list(network.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).ravel()
            for g, p in zip(gradients, network.parameters(), strict=True)
        ]
    )


def formula(block, x):
    """φ(x) as the docstring of the block spells it out; S from the parameters."""
    weight = block.weight - block.weight.mean(1, keepdim=True)
    sharpness = block.log_sharpness.exp()
    h = torch.einsum("hkd,nd->nhk", block.weight, x) + block.bias
    p = torch.softmax(sharpness[:, None] * h, dim=2)
    units = torch.einsum("h,nhk,hkd->nd", block.sign, p, weight)
    down = weight[: block.n_subtracted].flatten(0, 1)
    scale = sharpness[: block.n_subtracted].repeat_interleave(block.n_pieces)
    lift = (down.T * scale / 2) @ down
    identity = torch.eye(x.shape[1], dtype=x.dtype)
    square = block.factor @ block.factor.T if block.factor.ndim else block.factor**2 * identity
    return x @ (block.constants().floor * identity + square + lift) + units + block.shift


# ------------------------------------------------------------------------------- closed forms


@shapes
def test_the_map_is_what_its_docstring_says(shape, sharpness):
    network, x = make_block(*shape, sharpness=sharpness)
    torch.testing.assert_close(network(x), formula(network.blocks[0], x), rtol=1e-10, atol=1e-10)


@pytest.fixture(params=[True, False], ids=["matrix", "number"])
def dense(request, monkeypatch):
    """Whether L is a matrix; a number, as for many features, otherwise."""
    most = 256 if request.param else 0
    monkeypatch.setattr(GradientBlock, "most_features_of_matrices", most)
    return request.param


CLOSED_FORMS = {
    "jacobian": (IResNet.jacobian, lambda J: J),
    "divergence": (IResNet.divergence, lambda J: J.diagonal(dim1=1, dim2=2).sum(1)),
    "logabsdet": (IResNet.logabsdet, lambda J: torch.linalg.slogdet(J)[1]),
}


@shapes
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms_equal_autograd(name, shape, sharpness, dense):
    """Values, and gradients in the parameters."""
    network, x = make_block(*shape, sharpness=sharpness)
    assert network.blocks[0].factor.ndim == (2 if dense else 0)
    closed_form, of_jacobian = CLOSED_FORMS[name]
    fast, exact = closed_form(network, x), of_jacobian(jacobians.jacobian(network.forward, x))
    torch.testing.assert_close(fast, exact, rtol=1e-9, atol=1e-9)
    probe = torch.randn(fast.shape, generator=torch.Generator().manual_seed(0)).double()
    gradients = [of_parameters(network, (probe * value).sum()) for value in (fast, exact)]
    scale = gradients[1].abs().max().item()
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-11 * scale)


@shapes
def test_products_and_averages(shape, sharpness, dense):
    network, x = make_block(*shape, sharpness=sharpness)
    block, exact = network.blocks[0], jacobians.jacobian(network.forward, x)
    slopes = block.call_and_slopes(x)[1]
    image = (exact @ x[:, :, None])[:, :, 0]
    torch.testing.assert_close(block.product_from(slopes)(x), image, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(block.jacobian_from(slopes), exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(block.mean_jacobian(x), exact.mean(0), rtol=1e-9, atol=1e-9)
    single = block.product_from(slopes, torch.float32)(x.float())
    torch.testing.assert_close(single.double(), image, rtol=0, atol=1e-4 * image.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_sample_and_single_precision(dtype, dense):
    """One row gives what it gives among others; float32 differs by rounding."""
    network, x = make_block(3, 4, 5, 2)
    exact = network(x)
    network, x = network.to(dtype), x.to(dtype)
    block = network.blocks[0]
    together, slopes = block.call_and_slopes(x)
    assert together.dtype == slopes.dtype == dtype
    assert slopes.shape == (20, 20) and block.call_and_slopes(x[:1])[1].shape == (1, 20)
    torch.testing.assert_close(slopes.unflatten(1, (4, 5)).sum(2), torch.ones(20, 4, dtype=dtype))
    alone = torch.cat([network(row[None]) for row in x])
    torch.testing.assert_close(alone, together)
    torch.testing.assert_close(together.double(), exact, rtol=1e-4, atol=1e-4)
    J = torch.cat([network.jacobian(row[None]) for row in x])
    torch.testing.assert_close(J, network.jacobian(x))


# ------------------------------------------------------------------------------ the certificate


def assert_certified(network, x, lipschitz):
    """Eigenvalues of Jacobians lie in the bounds, and the bounds keep to L."""
    block = network.blocks[0]
    a, b = (bound.item() for bound in block.bounds())
    spectrum = torch.linalg.eigvalsh(network.jacobian(x))
    rounding = 1e-12 * b
    assert 0 < a <= spectrum.min() + rounding
    assert spectrum.max() <= b + rounding
    assert network.lipschitz() <= lipschitz
    assert b <= block.magnitude() + rounding
    y = x + 1e-2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5)).double()
    ratio = (block.residual(x) - block.residual(y)).norm(dim=1) / (x - y).norm(dim=1)
    assert ratio.max() <= lipschitz * (1 + 1e-7)


@pytest.mark.parametrize("lipschitz", [0.3, 0.95, 0.999])
@pytest.mark.parametrize(("spread", "sharp"), [(0.0, 1.0), (3.0, 1.0), (0.5, 1e4), (10.0, 100.0)])
@shapes
def test_certificate(shape, spread, sharp, lipschitz, dense):
    """Whatever the weights are: large, or of sharp units, or all of them subtracted."""
    network, x = make_block(*shape, lipschitz=lipschitz, spread=spread, sharpness=sharp)
    kinks = network.blocks[0].weight.flatten(0, 1).detach()  # near the origin, where slopes change
    x = torch.cat([x, x / 10, x / (10 * sharp), 3 * kinks / kinks.norm(dim=1, keepdim=True)])
    with torch.no_grad():
        assert_certified(network, x, lipschitz)


@pytest.mark.parametrize("subtracted", [True, False])
def test_pieces_on_a_line_keep_the_bound(subtracted, dense):
    """The sum of the bounds of all pieces is many times that of their largest distance."""
    network, _ = make_block(2, 1, 32, int(subtracted), lipschitz=0.9, spread=0.0)
    block = network.blocks[0]
    with torch.no_grad():
        block.weight.zero_()
        block.weight[0, ::2, 0], block.weight[0, 1::2, 0] = 3.0, -3.0
        block.factor.mul_(0.1)
        x = torch.linspace(-3, 3, 301, dtype=torch.float64)[:, None] * torch.eye(2)[0]
        assert_certified(network, x.double(), 0.9)


def test_a_unit_of_two_pieces_reaches_its_bound():
    """Its slope at the kink is the bound, so the bound is exact."""
    network, _ = make_block(3, 1, 2, 0, spread=0.3)
    block = network.blocks[0]
    with torch.no_grad():
        block.factor.zero_()
        block.bias.zero_()
        spectrum = torch.linalg.eigvalsh(network.jacobian(torch.zeros(1, 3).double()))[0]
    torch.testing.assert_close(spectrum[[0, 2]], torch.stack(block.bounds()).detach())


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0), (0.5, 1.0)])
@pytest.mark.parametrize("n_subtracted", [0, 2, 5])
def test_certificate_of_many_features(bounds, n_subtracted):
    """L is a number, with and without a part that is known."""
    n, known = 270, None
    if bounds is not None:
        known = TensorOperator(as_operator(np.diag(np.linspace(*bounds, n))), 1.0)
    for lipschitz, spread, sharp in [(0.5, 0.3, 1.0), (0.999, 0.02, 1e3)]:
        network = IResNet(
            n,
            known=known,
            known_bounds=bounds,
            hidden_layer_sizes=(5,),
            lipschitz=lipschitz,
            block_options={"n_pieces": 3, "n_subtracted": n_subtracted},
        ).double()
        generator = torch.Generator().manual_seed(0)
        shake(network, spread, generator)
        with torch.no_grad():
            network.blocks[0].log_sharpness.add_(math.log(sharp))
            x = torch.randn(4, n, generator=generator, dtype=torch.float64)
            assert_certified(network, torch.cat([x, 1e-3 * x]), lipschitz)


@pytest.mark.parametrize("n_pieces", [2, 3])
def test_hidden_units_of_fewer_rows_than_features(n_pieces, dense):
    """Seen from the units: the same map and inverse; of more rows there is no such view."""
    network, x = make_block(12, 3, n_pieces, 1)
    block, form = network.blocks[0], network.blocks[0].hidden_units()
    h = form.preactivation(x)
    linear = torch.linalg.inv(form.divide(torch.eye(12, dtype=torch.float64)))
    torch.testing.assert_close(x @ linear + form.response(h) @ form.outer + form.shift, block(x))
    J = block.jacobian(x)
    found = torch.stack(
        [v @ linear + form.pull_back(h)(v @ form.outer.T) @ form.inner for v in (x, 2 * x, x - 1)]
    )
    exact = torch.stack([(J @ v[:, :, None])[:, :, 0] for v in (x, 2 * x, x - 1)])
    torch.testing.assert_close(found, exact)
    back = invert(network, network(x).detach())
    assert back.converged.all()
    torch.testing.assert_close(back.x, x, rtol=1e-9, atol=1e-9)
    n_units = {2: 12, 3: 4}[n_pieces]  # two pieces are one row
    assert make_block(12, n_units, n_pieces, 1)[0].blocks[0].hidden_units() is None


# --------------------------------------------------------------------------- starts and blending


@pytest.mark.parametrize("lipschitz", [0.95, 0.999])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@shapes
def test_blend(shape, share, lipschitz, sharpness):
    """(1 − τ) φ + τ I, and so its Jacobian; the bound holds as before."""
    network, x = make_block(*shape, lipschitz=lipschitz, sharpness=sharpness, spread=0.2)
    block = network.blocks[0]
    with torch.no_grad():
        image = (1 - share) * network(x) + share * x
        J = (1 - share) * network.jacobian(x) + share * torch.eye(shape[0], dtype=torch.float64)
        block.blend(share)
        # a depends on L, which is solved for by iteration: the slower, the smaller the bound
        tolerance = {0.95: 1e-4, 0.999: 1e-9}[lipschitz] * J.abs().max().item()
        torch.testing.assert_close(network.jacobian(x), J, rtol=0, atol=tolerance)
        torch.testing.assert_close(network(x), image, rtol=0, atol=tolerance)
        assert_certified(network, x, lipschitz)


@shapes
def test_blend_to_the_identity(shape):
    """τ = 1 gives the identity; training can go on from there."""
    network, x = make_block(*shape, lipschitz=0.999)
    network.blocks[0].blend(1.0)
    torch.testing.assert_close(network(x), x, rtol=0, atol=1e-4)
    identity = torch.eye(shape[0]).expand(20, -1, -1).double()
    torch.testing.assert_close(network.jacobian(x), identity, rtol=0, atol=1e-4)
    gradient = of_parameters(network, network(x).sin().sum())
    assert gradient.isfinite().all()
    found = invert(network, x)
    assert found.converged.all()


def mixture(d, n_clusters, seed=0):
    """Clusters of one covariance, an operator, a level of noise."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * np.eye(d)
    Q = 0.3 * root @ root.T + 0.1 * np.eye(d)
    A = rng.normal(size=(d + 1, d)) / np.sqrt(d)
    centres = 1.5 * rng.normal(size=(n_clusters, d))
    share = rng.uniform(0.5, 1.5, n_clusters)
    return Q, A, centres, share / share.sum()


@pytest.mark.parametrize(("d", "n_clusters", "n_pieces"), [(1, 2, 2), (2, 3, 3), (4, 3, 32)])
def test_start_from_the_posterior_of_clusters(d, n_clusters, n_pieces):
    """The posterior mean of a mixture of Gaussians with one covariance is one unit."""
    Q, A, centres, share = mixture(d, n_clusters)
    level, G = 0.5, A.T @ A
    inverse = np.linalg.inv(Q @ G + level**2 * np.eye(d))
    weight = level**2 * centres @ inverse.T
    bias = level**2 * np.log(share) - 0.5 * np.sum((centres @ G) * weight, axis=1)
    slope = inverse @ Q
    posterior = ClusterPosterior((slope + slope.T) / 2, weight, bias, 1 / level**2)
    rng = np.random.default_rng(1)
    prior = GaussianMixturePrior(centres, np.array([Q] * n_clusters), share)
    X = prior.sample(200, random_state=0)
    Y = X @ A.T + level * rng.normal(size=(200, d + 1))
    exact = posterior_mean(prior, Y, operator=A, noise_level=level)
    network, _ = make_block(d, 1, n_pieces, 0, lipschitz=0.999, spread=0.0)
    block = network.blocks[0]
    *arrays, sharpness = posterior
    block.start_from(*(torch.from_numpy(array) for array in arrays), sharpness)
    with torch.no_grad():
        found = network(torch.from_numpy(Y @ A)).numpy()
        assert_certified(network, torch.from_numpy(Y @ A), 0.999)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize("n_clusters", [1, 3])
def test_clusters_are_found(n_clusters):
    """From signals of well separated clusters: nearly the exact posterior mean."""
    d, level = 2, 0.5
    centres = np.array([[4.0, 0.0], [-4.0, 3.0], [0.0, -5.0]])[:n_clusters]
    prior = GaussianMixturePrior(centres, np.array([0.3 * np.eye(d)] * n_clusters))
    X = prior.sample(4000, random_state=0)
    found = ClusterPosterior.from_signals(
        X,
        np.ones(len(X)),
        forward=np.eye(d),
        epsilon=level**2,
        n_clusters=n_clusters,
        random_state=0,
    )
    Y = X[:300] + level * np.random.default_rng(0).normal(size=(300, d))
    h = found.sharpness * (Y @ found.weight.T + found.bias)
    p = torch.softmax(torch.from_numpy(h), dim=1).numpy()
    exact = posterior_mean(prior, Y, noise_level=level)
    np.testing.assert_allclose(Y @ found.slope + p @ found.weight, exact, rtol=0, atol=0.05)


def test_fewer_clusters_than_pieces_leave_the_others_out():
    """Pieces that a start does not use have no share, but can be trained."""
    network, x = make_block(2, 3, 8, 1, spread=0.0)
    block = network.blocks[0]
    weight = torch.tensor([[2.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    bias = torch.tensor([0.1, -0.2], dtype=torch.float64)
    block.start_from(torch.eye(2, dtype=torch.float64), weight, bias, 3.0)
    p = block.call_and_slopes(x)[1].unflatten(1, (3, 8))[:, 1]
    torch.testing.assert_close(p[:, :2], torch.softmax(3 * (x @ weight.T + bias), 1))
    assert p[:, 2:].max() < 1e-8
    assert (p[:, 2:] > 0).all()


def test_options_are_kept():
    network, x = make_block(3, 4, 5, 3)
    assert network.blocks[0].sign.tolist() == [-1, -1, -1, 1]
    again = IResNet(**network.config).double()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(x), network(x))
    with pytest.raises(ValueError, match="must hold one number"):
        IResNet(3, hidden_layer_sizes=(4, 5))
