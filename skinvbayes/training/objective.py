"""What a stage of training minimises: a loss over pairs, in the coordinates of the network."""

from dataclasses import replace

import numpy as np
import torch

from ..numerics.tensors import as_tensor
from ..problem.coordinates import rounded_number, rounded_rows
from .kernel_draws import MeasurementDraws, SignalDraws
from .mean_loss import Objective

__all__ = ["PRECISION", "drawn_from", "learns_rest", "objective_of", "tensor"]

PRECISION = {"lbfgs": torch.float64, "adam": torch.float32}  # while training
_WITH_JITTER = 0.1  # share of the penalty that fresh jitter leaves necessary
_DECAY_SAMPLES = 2000  # added to the pairs, of which few would drive all weights to zero
_UNINFORMED = 0.01  # least weight of a coordinate, of which noise alone would be learned
_AVERAGED = 4000  # draws, for a constant of the loss
_TAIL_SAMPLES = 10_000  # beyond so many pairs the penalty falls like 1/n², for its bias


def objective_of(
    specification, trained, loss_class, pairs, solver, *, as_measured=False, mean_weight=None
):
    """What one stage minimises, in unit scale.

    If asked for, with the noise of the pairs. The mean weight is that of the pairs by default.
    """
    problem, coordinates = trained.problem, trained.problem.coordinates
    X, Y, weight = pairs
    device, dtype = trained.network.device, PRECISION[solver]
    loss = loss_class.for_problem(trained.epsilon, problem)
    if not specification.architecture.has_clusters:
        loss.metric = tensor(problem.unit_information + _UNINFORMED, device, dtype)
    noise = None if as_measured else specification.fresh_noise(problem, loss)
    rest = learns_rest(trained.network, loss)
    w = _unit_targets(problem, loss, pairs, fresh=noise is not None, rest=rest)
    forward, constant = problem.unit_forward, 0.0
    if rest:  # what is known of φ(x) − z drops out, and the operator with it
        constant = loss.value_of_known(forward.trace())
        forward = None
    bandwidth = specification.bandwidth_for(problem, loss)
    fresh_jitter = problem.bandwidth > 0 and solver == "adam"
    return Objective(
        loss,
        rounded_rows(coordinates.from_signals(X), device, dtype),
        rounded_rows(w, device, dtype),
        tensor(weight / (mean_weight or weight.mean()), device, dtype),
        jitter=_factor(coordinates.unit_jitter(bandwidth), device, dtype) if bandwidth else None,
        forward=forward,
        noise=None if noise is None else _factor(noise, device, dtype),
        constant=constant,
        decay=0.0 if noise is not None else _decay(trained, loss, X.shape[1], fresh_jitter),
    )


def drawn_from(objective, prior, problem):
    """The same objective with draws of a smoothed prior in place of the pairs."""
    x, loss = objective.x, objective.loss
    if loss.inverts:
        kernels = MeasurementDraws(prior, x.dtype, x.device)
        constant = 0.5 * prior.unexplained(np.random.RandomState(0))
    else:
        loss = loss.integrated()
        kernels = SignalDraws(prior, loss.epsilon, x.dtype, x.device)
        trace = problem.unit_forward.trace()
        constant = loss.value_of_known(trace) + _left_out(prior, loss.epsilon, problem)
    constant += objective.constant
    return replace(objective, loss=loss, kernels=kernels, constant=constant, decay=0.0)


def _left_out(prior, epsilon, problem):
    """What the loss of pairs has more than the square that it becomes by parts, but for −ε tr G.

    That is −½ ε² E‖∇log p‖², and the noise of their targets where these are as measured.
    """
    draws = SignalDraws(prior, epsilon, torch.float64)
    generator = torch.Generator().manual_seed(0)
    u, _ = draws.draw(draws.rows(_AVERAGED, generator), generator)
    square = epsilon**2 * draws.score(u).square().sum(1).mean()
    noise = np.sum(problem.unit_noise**2) if problem.operator is None else 0.0
    return 0.5 * float(noise - square)


def _unit_targets(problem, loss, pairs, *, fresh, rest):
    """The targets w, or what G̃ u lacks of them: without noise where it does not matter or is fresh.

    It does not matter to a loss that depends on z through E[z|x] alone: that has the same optimum
    with z, and less variance with E[z|x] (Rao–Blackwell).
    """
    X, Y, _ = pairs
    clean = fresh or (problem.operator is not None and not loss.expects_noise)
    if clean and rest:
        return np.tile(problem.unit_constant, (len(X), 1))
    if clean:
        return problem.unit_clean_targets(X)
    w = problem.coordinates.from_targets(problem.targets(Y))
    return w - problem.coordinates.from_targets(problem.forward_targets(X)) if rest else w


def learns_rest(network, loss):
    """Whether a stage trains φ − G alone: where G is known and drops out of the loss."""
    return network.knows_forward and loss.leaves_known_out


def _decay(trained, loss, n_features, fresh_jitter):
    """The weight of the weight penalty: it falls with the number of pairs seen."""
    problem, n = trained.problem, trained.continuation.n_seen
    penalty = loss.decay * rounded_number(problem.unit_epsilon)
    if fresh_jitter:  # which regularises by itself
        penalty = penalty * _WITH_JITTER
    elif problem.coordinates.isotropic_norm is not None:  # the error grows like the second moments
        n = n / (n_features / 2) ** 2
    return penalty / ((n + _DECAY_SAMPLES) * (1 + n / _TAIL_SAMPLES))


def _factor(matrix, device, dtype):
    """What rows ξ are multiplied with to give ξ Mᵀ, from M, a matrix or a number."""
    return tensor(np.array(np.float32(matrix).T, order="C"), device, dtype)


def tensor(values, device, dtype):
    return as_tensor(values).to(device=device, dtype=dtype)
