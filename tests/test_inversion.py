"""The fast methods of the inversion, what they leave to the robust one, and the adjoint."""

import pytest
import torch

from skinvbayes.inversion import chord, implicit_inverse, invert, newton
from test_networks import make_network

LARGE = [
    ("gradient", 1, (30,), 12),
    ("gradient", 1, (7,), 12),
    ("mlp", 1, (20, 20), 12),
    ("mlp", 1, (7, 6), 12),
    ("mlp", 1, (7,), 12),
    ("mlp", 1, (20, 20), 2),
    ("gradient", 1, (20,), 2),
]


@pytest.fixture(params=LARGE, ids=str)
def case(request):
    return make_network(*request.param, lipschitz=0.9, spread=0.2)


def test_the_fast_method_suffices(case, monkeypatch):
    network, x = case
    monkeypatch.setattr(newton, "_newton_step", None)
    found = invert(network, network(x).detach(), tol=1e-12)
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=1e-9, atol=1e-9)


def test_the_robust_method_takes_over(case, monkeypatch):
    """Where the fast method runs away, its rows come back as they were."""
    network, x = case

    def away(function, target, solver, start, *arguments, **options):
        def runs_away(residual, known, last):
            return 1e3 * residual, None

        return iterate_rows(function, target, runs_away, start, *arguments, **options)

    iterate_rows = chord.iterate_rows
    monkeypatch.setattr(chord, "iterate_rows", away)
    found = invert(network, network(x).detach())
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=1e-8, atol=1e-8)


def test_rows_do_not_depend_on_one_another_beyond_the_tolerance(case):
    network, x = case
    z = network(x).detach()
    together, alone = invert(network, z).x, torch.cat([invert(network, row[None]).x for row in z])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


def test_single_precision_reaches_its_tolerance(case):
    network, x = case
    network, x = network.float(), x.float()
    z = network(x).detach()
    found = invert(network, z)
    assert found.converged.all()
    scale = z.square().sum(1).mean().sqrt()
    assert found.residual.max() <= 2e-6 * max(1, float(network.magnitude())) * scale


def test_adjoint_equals_the_dense_one(case):
    network, x = case
    z = network(x).detach().requires_grad_()
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    (fast,) = torch.autograd.grad((probe * implicit_inverse(network, z, x + 0.1)).sum(), z)
    jacobian = network.jacobian(x)
    exact = torch.linalg.solve(jacobian.transpose(1, 2), probe)
    torch.testing.assert_close(fast, exact, rtol=1e-6, atol=1e-6)


def test_constants_are_remembered_until_a_parameter_changes(case, monkeypatch):
    network, x = case
    z = network(x).detach()
    counted = []
    for block in network.blocks:
        constants = block.constants
        monkeypatch.setattr(
            block, "constants", lambda known=constants: counted.append(1) or known()
        )
    invert(network, z)
    invert(network, z)
    assert len(counted) == 1
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.9)
    found = invert(network, z)
    assert len(counted) == 2
    torch.testing.assert_close(network(found.x), z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "arguments", [("gradient", 1, (20,), 2), ("gradient", 1, (30,), 12), ("mlp", 1, (20, 20), 2)]
)
def test_the_first_guess_saves_steps(arguments):
    """Against the start from z, also where φ is far from the identity."""
    network, x = make_network(*arguments, lipschitz=0.9, spread=0.2)
    z = network(x + 2).detach()
    guessed, from_z = invert(network, z), invert(network, z, start=z)
    torch.testing.assert_close(guessed.x, from_z.x, rtol=1e-9, atol=1e-9)
    assert guessed.n_iter.sum() < from_z.n_iter.sum()


def test_an_outlier_spoils_nothing(case):
    """The first guess comes from the middle of all points."""
    network, x = case
    x = torch.cat([1e4 * torch.ones_like(x[:1]), x])
    found = invert(network, network(x).detach())
    assert found.converged.all()
    torch.testing.assert_close(found.x[1:], x[1:], rtol=0, atol=1e-7)


def test_a_step_works_out_its_constants_once(case, monkeypatch):
    """Also where the gradient goes back through the inversion."""
    network, x = case
    block, calls = network.train().blocks[0], []

    def counted():
        calls.append(None)
        return constants()

    constants = block.constants
    monkeypatch.setattr(block, "constants", counted)
    implicit_inverse(network, network(x).detach(), x).sum().backward()
    assert len(calls) == 2  # one for φ(x)


def test_rows_that_run_away_come_back_as_they_were():
    def solver(residual, known, last):
        return torch.where(target > 0, -residual, residual), None

    target = torch.tensor([[1.0], [-1.0], [-2.0]])
    start = torch.zeros(3, 1)
    found = chord.iterate_rows(
        lambda v: (v.clone(), None), target, solver, start, torch.tensor(0.1), 3, leave=False
    )
    assert found[0].ravel().tolist() == [1, 0, 0]
    assert found[2].tolist() == [0, 1, 2]
    assert not start.any()
