"""The result of a training, and what a later one goes on with."""

from dataclasses import dataclass, replace

import torch

from ..inversion import InvertibleMap
from ..networks.explicit_inverse import build_network
from ..problem.inverse_problem import InverseProblem
from .adam import Adam
from .optimize import History
from .specification import Pairs

__all__ = ["Continuation", "Trained", "copied", "rebuilt"]


@dataclass
class Continuation:
    """What a later pass of training goes on with.

    Attributes
    ----------
    generator : torch.Generator
        Source of batches and jitter.
    optimizer : Adam or None
        That of the last pass; None after a complete fit.
    n_seen : float
        Number of pairs seen so far.
    n_passes : int
        Passes so far; a complete fit counts as ``max_iter``.
    """

    generator: torch.Generator
    optimizer: Adam | None
    n_seen: float
    n_passes: int = 0

    def copy_for(self, network):
        """A copy whose optimizer works on the parameters of a copied network."""
        optimizer = self.optimizer
        if optimizer is not None:
            optimizer = Adam(network.parameters(), optimizer.learning_rate, optimizer.moments)
        return replace(self, generator=copied(self.generator), optimizer=optimizer)


@dataclass
class Trained:
    """The result of a training.

    Attributes
    ----------
    network : IResNet or ExplicitInverse
        The network ψ, in unit scale.
    problem : InverseProblem
        The problem and its coordinates.
    epsilon : float
        Weight of the penalty in the user's units.
    bandwidth : float
        Bandwidth of the last stage.
    history : History
        Course of all stages in the user's units; its best loss is that of the last one.
    continuation : Continuation
        What a later pass goes on with.
    judges : Pairs or None
        The pairs of early stopping.
    prior_weight : float
        Epsilon over the variance of the noise, where pairs told it; one elsewhere.
    """

    network: InvertibleMap
    problem: InverseProblem
    epsilon: float
    bandwidth: float
    history: History
    continuation: Continuation
    judges: Pairs | None = None
    prior_weight: float = 1.0

    def in_double_precision(self):
        """A copy whose network can reconstruct while this one is still being trained."""
        network = rebuilt(self.network, self.network.config, self.problem)
        return replace(self, network=network)

    def copy(self):
        """A copy that can be trained on while this one stays as it is."""
        other = self.in_double_precision()
        state = self.continuation.copy_for(other.network)
        return replace(other, continuation=state)


def copied(generator):
    """A generator that goes on alike; of a deepcopy, torch keeps the memory for good."""
    return torch.Generator(generator.device).set_state(generator.get_state())


def rebuilt(network, config, problem):
    """A network of the same weights and this configuration, with the G of a problem."""
    known = problem.unit_forward if config["known_bounds"] is not None else None
    other = build_network(config, known=known).to(network.device, torch.float64)
    other.load_state_dict(network.state_dict())
    return other
