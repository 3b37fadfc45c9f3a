"""Training in passes over pairs that arrive one part after the other."""

import math
from dataclasses import replace

import torch
from sklearn.utils import check_random_state

from ..numerics.devices import check_device
from .adam import Adam
from .objective import learns_rest, objective_of
from .stages import in_user_units, new_generator, new_network, run, start

__all__ = ["partial_fit"]

_HALVINGS = 7  # of a step, before it is not taken at all


def partial_fit(specification, pairs, *, previous=None):
    """Train for one pass of Adam over pairs.

    The step size falls as that of Robbins and Monro, with the root of the number of passes: one of
    constant size would never reach a minimum. Where few pairs make a step too long even so, which
    leads away from a minimum that was found before, it is shortened.

    Parameters
    ----------
    specification, pairs
        As in :func:`skinvbayes.training.fit.fit`.
    previous : Trained, default=None
        What to go on with; it is trained on.

    Returns
    -------
    trained : Trained
        The network, with the mean loss of this pass as the last of its history.
    """
    if previous is None:
        trained, pairs = _begin(specification, pairs)
    else:
        trained, pairs = previous, previous.problem.completed(pairs)
    state = trained.continuation
    if state.optimizer is None:
        state.optimizer = Adam(trained.network.parameters())
    state.optimizer.learning_rate = specification.first_step / math.sqrt(1 + state.n_passes)
    state.n_seen += pairs.weight.sum()
    state.n_passes += 1
    objective = objective_of(specification, trained, specification.loss, pairs, "adam")
    trained.bandwidth = specification.bandwidth_for(trained.problem, objective.loss)
    step = _Step(specification, trained, objective, pairs)
    history = run(specification, trained, objective, "adam", 1, optimizer=state.optimizer)
    step.shorten()
    new = in_user_units(history, objective.loss, trained.problem.coordinates)
    trained.history = trained.history.followed_by(new)
    trained.history.best_loss = min(trained.history.loss_curve, default=math.inf)
    return trained


def _begin(specification, pairs):
    """A problem and an untrained network, before the first pass, and the pairs to begin with."""
    check_device(specification.device)
    rng = check_random_state(specification.random_state)
    problem, pairs = specification.problem_of(pairs, rng, weighed=False)
    generator = new_generator(rng)
    network = new_network(specification, problem, pairs, torch.float32, generator)
    return start(specification, network, problem, generator, 0), pairs


class _Step:
    """The step that a pass makes from the weights at hand, and the loss of its pairs."""

    def __init__(self, specification, trained, objective, pairs):
        exact = objective_of(specification, trained, specification.loss, pairs, "lbfgs")
        exact = replace(exact, decay=objective.decay)
        self.objective = exact.drawn(trained.continuation.generator)
        network = trained.network
        self.network = network.rest() if learns_rest(network, objective.loss) else network
        self.parameters = list(network.parameters())
        self.start = [p.detach().double().clone() for p in self.parameters]

    def shorten(self):
        """Shorten the step until the loss of the pairs is no larger than before."""
        end = [p.detach().clone() for p in self.parameters]
        loss_before = self._loss_at(end, 0)
        for n in range(_HALVINGS):
            if self._loss_at(end, 0.5**n) <= loss_before:
                return
        self._loss_at(end, 0)

    @torch.no_grad()
    def _loss_at(self, end, share):
        """The loss after a share of the step; the network keeps it."""
        for parameter, first, last in zip(self.parameters, self.start, end, strict=True):
            parameter.copy_(torch.lerp(first, last, share))
        return float(self.objective.loss_and_penalised(self.network)[1])
