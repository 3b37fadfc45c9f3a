"""The mean of a loss over chunks of pairs: loss and gradient are added up where the chunks lie."""

import copy
import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..losses import Loss
from ..numerics.threads import single_thread
from .mean_loss import add_gradient, assign, flat_gradient, flat_values
from .objective import objective_of
from .optimize import History
from .pair_chunks import PairChunks
from .specification import TrainingSpecification
from .trained import Trained

__all__ = ["ChunkedObjective"]


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
    among: tuple
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
        """The mini-batches of one iteration, chunk after chunk in random order.

        The steps of fresh noise are made in one random chunk.
        """
        order = torch.randperm(len(self.among), generator=generator, device="cpu").tolist()
        if self.chunk_loss.draws_noise:
            seed = int(torch.randint(2**31 - 1, (), generator=generator, device="cpu"))
            return self._of_chunk(order[0], _fresh_steps, batch_size, seed).in_order(batch_size)
        chunks = (self._of_chunk(i, _objective).iteration(batch_size, generator) for i in order)
        n_batches, first = next(chunks)
        others = (batches for _, batches in chunks)
        return n_batches * len(order), itertools.chain(first, itertools.chain.from_iterable(others))

    def _of_chunk(self, i, function, *arguments):
        """An objective that a function makes of a chunk."""
        objective = self.chunks.result(function, self.among[i], self.shared, *arguments)
        return replace(objective, constant=self.constant, decay=self.decay)


def _objective(pairs, index, chunk_loss):
    return chunk_loss.objective(pairs, index)


def _fresh_steps(pairs, index, chunk_loss, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    return chunk_loss.objective(pairs, index).fresh_steps(batch_size, generator)


def _loss(pairs, index, chunk_loss, vector):
    """The number of pairs of a chunk, and the sum of their losses."""
    with single_thread(), torch.no_grad():
        objective = chunk_loss.fixed(pairs, index)
        n = len(objective.x)
        return n, n * objective.mean_loss(chunk_loss.at(vector)).item()


def _loss_and_gradient(pairs, index, chunk_loss, vector):
    """The number of pairs of a chunk, the sum of their losses, and its gradient."""
    with single_thread():
        network, objective = chunk_loss.at(vector), chunk_loss.fixed(pairs, index)
        n = len(objective.x)
        loss, _ = objective.backward(network)
        return n, n * loss, n * flat_gradient(network.parameters())
