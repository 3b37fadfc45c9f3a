"""The mean of a loss over chunks of pairs: loss and gradient are added up where the chunks lie."""

import copy
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..losses import Loss
from ..numerics.chunks import slices
from ..numerics.threads import single_thread
from .mean_loss import FRESH_STEPS, Objective, add_gradient, assign, flat_gradient, flat_values
from .objective import objective_of
from .optimize import History
from .pair_chunks import PairChunks, added
from .specification import TrainingSpecification
from .trained import Trained

__all__ = ["ChunkedObjective"]

_ROWS = 2048  # whose hidden units are in memory at once
_MIXED = 8  # chunks that the mini-batches of Adam are mixed from


@dataclass(frozen=True)
class ChunkLoss:
    """All that makes a chunk of pairs an objective; it is sent to the chunks.

    Attributes
    ----------
    specification : TrainingSpecification
        What is to be trained.
    trained : Trained
        The network and the problem.
    loss_class : type of Loss
        The loss.
    solver : str
        The solver.
    mean_weight : float
        The mean weight of all pairs.
    seed : int
        With the number of the chunk, the seed of all that is drawn for it.
    """

    specification: TrainingSpecification
    trained: Trained
    loss_class: type[Loss]
    solver: str
    mean_weight: float
    seed: int

    def objective(self, pairs, index):
        """The objective of the pairs of a chunk, without what is added once for all of them."""
        problem = self.trained.problem
        pairs = problem.completed(pairs, np.random.RandomState([self.seed, index]))
        objective = objective_of(
            self.specification,
            self.trained,
            self.loss_class,
            pairs,
            self.solver,
            mean_weight=self.mean_weight,
        )
        return replace(objective, constant=0.0, decay=0.0)

    def fixed(self, pairs, index):
        """The same with all that is random drawn, always the same for a chunk."""
        generator = torch.Generator().manual_seed((self.seed + index) % 2**63)
        return self.objective(pairs, index).drawn(generator)

    @property
    def loss(self):
        """The loss in the coordinates of the problem."""
        return self.loss_class.for_problem(self.trained.epsilon, self.trained.problem)

    @property
    def draws_noise(self):
        """Whether every step draws new noise."""
        return self.specification.fresh_noise(self.trained.problem, self.loss) is not None

    def at(self, vector):
        """A copy of the network with these parameters."""
        network = copy.deepcopy(self.trained.network)
        assign(list(network.parameters()), vector)
        return network


@dataclass(frozen=True)
class ChunkedObjective:
    """The mean of a loss over chunks, as a function of the network.

    Methods are as of :class:`~.mean_loss.Objective`; its parts are whole chunks.

    Attributes
    ----------
    chunks : PairChunks
        The pairs.
    among : tuple of int
        The chunks that count.
    chunk_loss : ChunkLoss
        What makes of chunks objectives.
    shared : object
        The same, as it is sent to the chunks.
    constant, decay : float
        As of an Objective.
    """

    chunks: PairChunks
    among: tuple[Any, ...]
    chunk_loss: ChunkLoss
    shared: object
    constant: float
    decay: float

    @classmethod
    def of(cls, chunks, specification, trained, loss_class, solver, sample):
        """What one stage minimises, in unit scale.

        Parameters
        ----------
        chunks : PairChunks
            All pairs.
        specification, trained, loss_class, solver
            As of :func:`~.objective.objective_of`.
        sample : Pairs
            Some of the pairs.
        """
        generator = trained.continuation.generator
        seed = int(torch.randint(2**31 - 1, (), generator=generator, device="cpu"))
        mean_weight = chunks.totals.weight / chunks.totals.n_samples
        sent = replace(
            trained,
            history=History(),
            continuation=replace(trained.continuation, generator=None, optimizer=None),
        )
        chunk_loss = ChunkLoss(specification, sent, loss_class, solver, mean_weight, seed)
        example = objective_of(specification, trained, loss_class, sample.rows([0]), solver)
        among, shared = tuple(range(len(chunks))), chunks.shared(chunk_loss)
        return cls(chunks, among, chunk_loss, shared, example.constant, example.decay)

    @property
    def loss(self):
        """The loss."""
        return self.chunk_loss.loss

    is_random = True  # as far as Adam is concerned: the chunks come in another order in every pass

    def part(self, among):
        """The same objective on some of the chunks; all of them for None."""
        return self if among is None else replace(self, among=tuple(int(i) for i in among))

    def fixed(self, generator):
        """The same objective: what is drawn for a chunk is always the same."""
        return self

    def remembering(self):
        """The same objective: inversions always start from the signals."""
        return self

    def mean_loss(self, network):
        """The mean loss, a number."""
        vector = flat_values(network.parameters())
        n, loss = self.chunks.sums(_loss, self.shared, vector, among=self.among)
        return loss / n + self.constant

    def backward(self, network):
        """The mean loss, and what is minimised, two numbers; adds the gradient of the latter."""
        parameters = list(network.parameters())
        vector = flat_values(parameters)
        n, loss, gradient = self.chunks.sums(
            _loss_and_gradient, self.shared, vector, among=self.among
        )
        add_gradient(parameters, gradient / n)
        loss = loss / n + self.constant
        if not self.decay:
            return loss, loss
        penalty = self.decay * network.weight_penalty()
        penalty.backward()
        return loss, loss + penalty.item()

    def iteration(self, batch_size, generator):
        """The mini-batches of one iteration, each of them with samples of several random chunks.

        The steps of fresh noise are made with a share from each of these, and a pass goes from one
        such group of chunks to the next.
        """
        order = torch.randperm(len(self.among), generator=generator, device="cpu")
        first, *others = order.split(_MIXED)
        if self.chunk_loss.draws_noise:
            seed = int(torch.randint(2**31 - 1, (), generator=generator, device="cpu"))
            share = -(-FRESH_STEPS * batch_size // len(first))
            mixed = self._of_chunks(first, _random_samples, share, seed)
            rows = torch.randperm(len(mixed.x), generator=generator, device="cpu")
            return mixed.split(rows[: FRESH_STEPS * batch_size]).in_order(batch_size)
        n_batches, batches = self._of_chunks(first, _objective).iteration(batch_size, generator)
        later = (self._of_chunks(g, _objective).iteration(batch_size, generator)[1] for g in others)
        n_batches = round(n_batches * len(order) / len(first))
        return n_batches, itertools.chain(batches, itertools.chain.from_iterable(later))

    def _of_chunks(self, group, function, *arguments):
        """An objective of what a function makes of some chunks, where they lie."""
        among = [self.among[i] for i in group.tolist()]
        merged = Objective.merged(self.chunks.results(function, among, self.shared, *arguments))
        return replace(merged, constant=self.constant, decay=self.decay)


def _objective(pairs, index, chunk_loss):
    return chunk_loss.objective(pairs, index)


def _random_samples(pairs, index, chunk_loss, n, seed):
    generator = torch.Generator().manual_seed(seed + index)
    return chunk_loss.objective(pairs, index).random_samples(n, generator)


def _loss(pairs, index, chunk_loss, vector):
    """The number of pairs of a chunk, and the sum of their losses."""
    with single_thread(), torch.no_grad():
        network, objective = chunk_loss.at(vector), chunk_loss.fixed(pairs, index)
        return added(_counted(part, part.mean_loss(network).item()) for part in _parts(objective))


def _loss_and_gradient(pairs, index, chunk_loss, vector):
    """The number of pairs of a chunk, the sum of their losses, and its gradient."""
    with single_thread():
        network, objective = chunk_loss.at(vector), chunk_loss.fixed(pairs, index)
        return added(_with_gradient(part, network) for part in _parts(objective))


def _with_gradient(part, network):
    network.zero_grad()
    loss, _ = part.backward(network)
    return _counted(part, loss, flat_gradient(network.parameters()))


def _parts(objective):
    """The objective of a few rows after the other, whose hidden units fit into memory."""
    return (objective.split(rows) for rows in slices(len(objective.x), _ROWS))


def _counted(part, *means):
    """The number of samples, and sums over them from means."""
    n = len(part.x)
    return n, *(n * mean for mean in means)
