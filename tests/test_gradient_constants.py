"""What a gradient block computes once: derivatives that are written down, and one time a step."""

import pytest
import torch

from helpers import shake
from skinvbayes.losses import DivergenceLoss, ReconstructionLoss
from skinvbayes.networks import ExplicitInverse, IResNet, gradient
from skinvbayes.networks.gradient import GradientBlock
from skinvbayes.training.mean_loss import Objective

# features, units, pieces, units that are subtracted, scale units
SHAPES = [(1, 3, 2, 1, 0), (4, 5, 2, 2, 0), (12, 3, 2, 0, 2), (3, 2, 32, 2, 0), (6, 4, 3, 1, 3)]


def make_network(n_features, n_units, n_pieces, n_subtracted, n_scale_units, **known):
    options = {"n_pieces": n_pieces, "n_subtracted": n_subtracted, "n_scale_units": n_scale_units}
    sizes = {"hidden_layer_sizes": (n_units,), "lipschitz": 0.95}
    network = IResNet(n_features, block_options=options, **sizes, **known).double()
    shake(network, 0.5, torch.Generator().manual_seed(1))
    return network


def tensors(constants):
    """All that is differentiable in them."""
    units = constants.units
    kinds = [units.others, units.scales] if hasattr(units, "scales") else [units]
    parts = [part for kind in kinds for part in vars(kind).values()]
    return [constants.slope, constants.total, *(part for part in parts if part.requires_grad)]


@pytest.mark.parametrize("most", [256, 0], ids=["matrix", "number"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_derivatives_are_those_of_finite_differences(shape, most, monkeypatch):
    monkeypatch.setattr(GradientBlock, "most_features_of_matrices", most)
    block = make_network(*shape).blocks[0]
    parameters = [p for name, p in block.named_parameters() if name != "shift"]
    by_hand = block.for_step().current_constants
    assert torch.autograd.gradcheck(
        lambda *_: tuple(tensors(block.for_step().current_constants())), parameters
    )
    for one, other in zip(tensors(by_hand()), tensors(block.constants()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-15)


def test_derivatives_where_a_or_the_sharpness_is_at_its_limit():
    """A floor that the known part gives, and a sharpness that is cut off: no slope from either."""
    network = make_network(3, 4, 2, 2, 0, known=lambda v: v, known_bounds=(1e6, 1e6))
    (block,) = network.blocks
    assert block.constants().floor == 1e-12
    with torch.no_grad():
        block.log_sharpness[1] = 31.0
    total = sum(t.sum() for t in tensors(block.for_step().current_constants()))
    (of_sharpness,) = torch.autograd.grad(total, [block.log_sharpness])
    assert of_sharpness[1] == 0
    assert (of_sharpness[[0, 2, 3]] != 0).all()


@pytest.mark.parametrize("loss", [DivergenceLoss(0.1), ReconstructionLoss()], ids=["div", "rec"])
def test_a_step_computes_them_once(loss, monkeypatch):
    network = make_network(3, 4, 2, 0, 0)
    if isinstance(loss, ReconstructionLoss):
        network = ExplicitInverse(network)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
    objective = Objective(loss, x, x + 1, torch.ones(20).double(), decay=0.5)
    apart = objective.mean_loss(network) + 0.5 * network.weight_penalty()
    calls, assembled = [], gradient.assembled
    monkeypatch.setattr(
        gradient, "assembled", lambda *a, **b: calls.append(1) or assembled(*a, **b)
    )
    _, together = objective.loss_and_penalised(network)
    assert len(calls) == 1
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(v, list(network.parameters())) for v in (together, apart)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_without_a_linear_part_there_is_no_slope_of_its_norm():
    network = make_network(3, 4, 2, 2, 0).float()
    (block,) = network.blocks
    with torch.no_grad():
        block.factor.zero_()
        block.weight[:2].zero_()
    value = 1e8 * network.for_step()(torch.ones(2, 3)).sum()
    assert (torch.autograd.grad(value, block.factor)[0] == 0).all()


def test_only_a_step_gives_up_derivatives_of_derivatives():
    network, x = make_network(3, 4, 2, 2, 2), torch.ones(2, 3).double()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: network(row[None])[0]))(x)
    torch.testing.assert_close(jacobian, network.jacobian(x))
    weight = network.blocks[0].weight
    (slope,) = torch.autograd.grad(network.weight_penalty(), weight, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), weight)[0].abs().sum() > 0
    penalty = network.for_step().weight_penalty()
    (slope,) = torch.autograd.grad(penalty, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad|once_differentiable"):
        torch.autograd.grad(slope.square().sum(), weight)
