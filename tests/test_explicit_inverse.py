"""A map that is given by its inverse: evaluated one way, solved for the other."""

import copy
import pickle

import pytest
import torch

from skinvbayes.inversion import implicit_inverse, invert
from skinvbayes.losses import ReconstructionLoss
from skinvbayes.networks import gradient as gradient_branch
from skinvbayes.networks.explicit_inverse import ExplicitInverse, build_network
from skinvbayes.numerics import jacobians
from skinvbayes.training.adam import Adam

# features, units, pieces, subtracted units
SHAPES = [(1, 3, 2, 0), (2, 4, 32, 0), (3, 5, 3, 2), (12, 4, 2, 0), (12, 9, 3, 4)]


def make_network(n_features, n_units, n_pieces, n_subtracted, *, lipschitz=0.9, spread=0.3):
    """A map whose inverse has weights far from their start, and points that the inverse takes."""
    generator = torch.Generator().manual_seed(1)
    config = {
        "n_features": n_features,
        "hidden_layer_sizes": (n_units,),
        "lipschitz": lipschitz,
        "block_options": {"n_pieces": n_pieces, "n_subtracted": n_subtracted},
        "explicit_inverse": True,
    }
    network = build_network(config, generator=generator).double()
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(spread * noise)
    return network, torch.randn(25, n_features, generator=generator, dtype=torch.float64)


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    return make_network(*request.param)


def test_the_inverse_is_evaluated(case):
    network, z = case
    found = invert(network, z)
    assert isinstance(network, ExplicitInverse)
    assert torch.equal(found.x, network.explicit_inverse(z).detach())
    assert found.converged.all()
    assert not found.n_iter.any() and not found.residual.any()
    for method in ("newton", "fixed_point"):
        assert torch.equal(invert(network, z, start=z, method=method).x, found.x)
    with pytest.raises(ValueError, match="method must be one of"):
        invert(network, z, method="bisection")


def test_round_trip(case):
    network, z = case
    x = invert(network, z).x
    torch.testing.assert_close(network(x), z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(invert(network, network(z)).x, z, rtol=1e-9, atol=1e-9)


def test_rows_that_overflow_do_not_converge(case):
    network, z = case
    z = z.clone()
    z[3] = torch.inf
    found = invert(network, z)
    assert found.converged.tolist() == [i != 3 for i in range(len(z))]


def test_jacobian_is_the_inverse_of_the_inverses(case):
    network, z = case
    x = invert(network, z).x
    inverse = jacobians.jacobian(network.explicit_inverse.forward, z)
    J = network.jacobian(x)
    torch.testing.assert_close(J, torch.linalg.inv(inverse), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(network.jacobian_at_image(x, z), J, rtol=1e-7, atol=1e-8)
    steps = 1e-5 * torch.eye(x.shape[1]).double()
    columns = [(network(x + step) - network(x - step)) / 2e-5 for step in steps]
    torch.testing.assert_close(torch.stack(columns, dim=2), J, rtol=1e-4, atol=1e-5)


def test_what_is_derived_from_the_jacobian(case):
    """Divergence, log-determinant, averages and products, from the defaults of the contract."""
    network, z = case
    x, v = invert(network, z).x, z.flip(0)
    J = network.jacobian(x).detach()
    close = {"rtol": 1e-7, "atol": 1e-8}
    torch.testing.assert_close(network.divergence(x), J.diagonal(dim1=1, dim2=2).sum(1), **close)
    torch.testing.assert_close(network.logabsdet(x), torch.linalg.slogdet(J)[1], **close)
    torch.testing.assert_close(network.mean_jacobian(x), J.mean(0), **close)
    product = torch.einsum("nij,nj->ni", J, v)
    torch.testing.assert_close(network.adjoint_product(x)(v), product, **close)
    image, slopes = network.call_and_slopes(x)
    torch.testing.assert_close(image, z, **close)
    torch.testing.assert_close(network.product_from(slopes)(v), product, **close)
    torch.testing.assert_close(network.jacobian_from(slopes), J, **close)


@pytest.mark.parametrize("lipschitz", [0.3, 0.999])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_certificate(shape, lipschitz):
    """Jacobians are symmetric positive definite, with the bounds of the inverse turned over."""
    network, z = make_network(*shape, lipschitz=lipschitz, spread=1.0)
    x = invert(network, z).x
    assert network.positive_definite
    J = network.jacobian(x).detach()
    torch.testing.assert_close(J, J.transpose(1, 2), rtol=1e-6, atol=1e-6 * J.abs().max().item())
    spectrum = torch.linalg.eigvalsh(J)
    a, b = (bound.item() for bound in network.explicit_inverse.blocks[0].bounds())
    assert spectrum.min() >= (1 - 1e-9) / b
    assert spectrum.max() <= (1 + 1e-9) / a
    assert torch.equal(network.lipschitz(), network.explicit_inverse.lipschitz())
    assert network.lipschitz() <= lipschitz
    c = (1 / a + 1 / b) / 2
    residual = x - network(x) / c  # up to a shift
    distance = (x[:, None] - x).norm(dim=2) + torch.eye(len(x))
    ratio = (residual[:, None] - residual).norm(dim=2) / distance
    assert ratio.max() <= lipschitz * (1 + 1e-9)


def test_frozen_views(case):
    """They share the parameters and compute what is constant once; the map stays as it is."""
    network, z = case
    frozen = network.frozen()
    block = frozen.explicit_inverse.blocks[0]
    calls = []
    block.constants = lambda: calls.append(1)
    assert torch.equal(frozen.explicit_inverse(z), network.explicit_inverse(z))
    torch.testing.assert_close(frozen(z), network(z))
    torch.testing.assert_close(frozen.jacobian(z), network.jacobian(z))
    assert not calls
    weight = network.explicit_inverse.blocks[0].weight
    for gradient in (False, True):
        value = network.frozen(gradient=gradient).explicit_inverse(z).sum()
        (found,) = torch.autograd.grad(value, weight, allow_unused=True)
        assert (found is not None) == gradient
    for mine, shared in zip(network.parameters(), frozen.parameters(), strict=True):
        assert mine is shared
    assert frozen.config == network.config
    assert network.train().frozen().training and not network.eval().frozen().training
    assert network.rest() is network and not network.knows_forward


def test_storage(case):
    """Configuration and state give the same network; so do pickle and copies."""
    network, z = case
    again = build_network(network.config).double()
    assert not torch.equal(again.explicit_inverse(z), network.explicit_inverse(z))
    again.load_state_dict(network.state_dict())
    for same in (again, pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert same.config == network.config
        assert torch.equal(same.explicit_inverse(z), network.explicit_inverse(z))
        assert torch.equal(same(z), network(z))
    assert network.config["explicit_inverse"]
    forward = {k: v for k, v in network.config.items() if k != "explicit_inverse"}
    plain = build_network(forward).double()
    assert plain.explicit_inverse is None
    plain.load_state_dict(network.explicit_inverse.state_dict())
    assert torch.equal(plain(z), network.explicit_inverse(z))


def test_configurations_are_left_as_they_were():
    network, _ = make_network(*SHAPES[0])
    config = copy.deepcopy(network.config)
    build_network(network.config)
    assert network.config == config


def test_gradients_reach_the_parameters_through_the_inverse(case):
    """The reconstruction loss is that of a regressor: no equation is solved."""
    network, z = case
    x = z.sin()
    parameters = list(network.parameters())

    def gradient(value):
        found = torch.autograd.grad(value, parameters)
        return torch.cat([g.ravel() for g in found])

    assert torch.equal(implicit_inverse(network, z, start=x), network.explicit_inverse(z))
    plain = 0.5 * (network.explicit_inverse(z) - x).square().sum(1)
    value = ReconstructionLoss()(network, x, z)
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(gradient(value.sum()), gradient(plain.sum()))
    assert gradient(ReconstructionLoss()(network, x, z).sum()).any()
    z = z.clone().requires_grad_()
    probe = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).double()
    (of_z,) = torch.autograd.grad((probe * implicit_inverse(network, z, start=x)).sum(), z)
    inverse = network.explicit_inverse.jacobian(z)
    torch.testing.assert_close(of_z, torch.einsum("nij,ni->nj", inverse, probe))


def test_the_gradient_is_that_of_the_implicit_form(case):
    """By the implicit function theorem on the forward map, through automatic differentiation."""
    network, z = case
    x = invert(network, z).x
    z = z.clone().requires_grad_()
    probe = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).double()
    (of_z,) = torch.autograd.grad((probe * implicit_inverse(network, z, start=x)).sum(), z)
    J = network.jacobian(x).detach()
    torch.testing.assert_close(of_z, torch.linalg.solve(J.transpose(1, 2), probe))


def test_single_precision(case):
    network, z = case
    exact = network.explicit_inverse(z)
    network, z = network.float(), z.float()
    found = invert(network, z)
    assert found.x.dtype == torch.float32 and found.converged.all()
    torch.testing.assert_close(found.x.double(), exact.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network(found.x), z, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_start(shape):
    """The inverse starts from the inverse of a linear guess, and is drawn to the identity."""
    network, z = make_network(*shape, lipschitz=0.999, spread=0.0)
    d = shape[0]
    root = torch.randn(d, d, generator=torch.Generator().manual_seed(2)).double()
    slope = root @ root.T / d + torch.eye(d)
    mean, deviations = z.mean(0), (z - z.mean(0)) / len(z) ** 0.5
    network.initialize(mean, deviations, slope)
    J = network.explicit_inverse.jacobian(mean[None])[0]
    inverse = torch.linalg.inv(slope)
    torch.testing.assert_close(J, inverse, rtol=0, atol=0.02 * inverse.norm().item())
    network.explicit_inverse.blocks[0].blend(1.0)
    torch.testing.assert_close(network(z), z, rtol=0, atol=1e-4)


def test_inversions_compute_what_depends_on_the_weights_alone_once(case, monkeypatch):
    network, w = case
    calls, assembled = [], gradient_branch.assembled
    monkeypatch.setattr(
        gradient_branch, "assembled", lambda *a, **b: calls.append(1) or assembled(*a, **b)
    )
    first = invert(network, w).x
    for row, expected in zip(w, first, strict=True):
        torch.testing.assert_close(invert(network, row[None]).x[0], expected)
    assert len(calls) == 1
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    assert not torch.allclose(invert(network, w).x, first)


def test_steps_of_adam_are_noticed(case):
    network, w = case
    network = copy.deepcopy(network)
    first = invert(network, w).x
    optimizer = Adam(network.parameters(), 0.1)
    network.explicit_inverse(w).square().mean().backward()
    optimizer.step()
    found = invert(network, w).x
    assert not torch.allclose(found, first)
    torch.testing.assert_close(found, network.explicit_inverse(w))
