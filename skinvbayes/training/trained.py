"""The result of a training, and what a later one goes on with."""

from dataclasses import dataclass, replace

import torch

from ..inversion import InvertibleMap
from ..networks.explicit_inverse import build_network
from ..problem.inverse_problem import InverseProblem
from .optimize import History

__all__ = ["Continuation", "Trained", "rebuilt"]


@dataclass
class Continuation:
    """What a later pass of training goes on with.

    Attributes
    ----------
    generator : torch.Generator
        Source of batches and jitter.
    optimizer : torch.optim.Adam or None
        That of the last pass; None after a complete fit.
    n_seen : float
        Number of pairs seen so far.
    """

    generator: torch.Generator
    optimizer: torch.optim.Optimizer | None
    n_seen: float


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
    split : tuple of two ndarrays or None
        The rows that were trained on and those set aside; None for all and none.
    """

    network: InvertibleMap
    problem: InverseProblem
    epsilon: float
    bandwidth: float
    history: History
    continuation: Continuation
    split: tuple = (None, None)

    def in_double_precision(self):
        """A copy whose network can reconstruct while this one is still being trained."""
        network = rebuilt(self.network, self.network.config, self.problem)
        return replace(self, network=network)


def rebuilt(network, config, problem):
    """A network of the same weights and this configuration, with the G of a problem."""
    known = problem.unit_forward if config["known_bounds"] is not None else None
    other = build_network(config, known=known)
    other.load_state_dict(network.state_dict())
    return other.to(network.device, torch.float64)
