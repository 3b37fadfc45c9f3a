"""The mean of a loss over pairs in memory, as a function of the network."""

from dataclasses import dataclass, replace

import torch

from ..inversion import Preimages
from ..numerics.chunks import slices
from ..numerics.tensors import as_tensor, white_like
from .kernel_draws import KernelDraws

__all__ = ["FRESH_STEPS", "Objective", "add_gradient", "assign", "flat_gradient", "flat_values"]

FRESH_STEPS = 15  # of one iteration of Adam with fresh noise
_REPLICATED = 20_000  # samples with their own noise that full batches are made of
_DRAWN = 4000  # samples of a prior, of whose targets there is no noise


@dataclass
class Objective:
    """The mean of a loss over weighted pairs, as a function of the network.

    Attributes
    ----------
    loss : callable
        ``loss(network, x, z)`` → Tensor of shape (n_samples,).
    x, z : Tensors of shape (n_samples, n_features)
        Signals and targets.
    weight : Tensor of shape (n_samples,)
        Weights of the samples, of mean one.
    jitter : Tensor of shape (n_features, n_features) or (), or None
        What rows of white noise are multiplied with to give the jitter of x, fresh at every step of
        Adam; None for no jitter.
    forward : callable or None
        The linear map of rows that carries the jitter over to z; None where z stays.
    noise : Tensor of shape (n_features, n_features) or (), or None
        The same for fresh noise of z; None where z is as it was measured.
    kernels : KernelDraws or None
        What is drawn in place of the pairs; None for the pairs themselves.
    preimages : Preimages or None
        What inversions in the loss start from, and what they find; None where samples are drawn,
        and for a start from the signals.
    constant : float
        What is added to the mean loss.
    decay : float
        Weight of ``network.weight_penalty()``, which is minimised too but left out of histories.
    """

    loss: object
    x: torch.Tensor
    z: torch.Tensor
    weight: torch.Tensor
    jitter: torch.Tensor | None = None
    forward: object = None
    noise: torch.Tensor | None = None
    kernels: KernelDraws | None = None
    preimages: Preimages | None = None
    constant: float = 0.0
    decay: float = 0.0

    @property
    def is_random(self):
        """Whether jitter, noise or samples are drawn in every step."""
        return self.jitter is not None or self.is_endless

    @property
    def is_endless(self):
        """Whether no sample comes twice, so that no number of pairs says how long to train."""
        return self.noise is not None or self.kernels is not None

    def split(self, rows):
        """The same objective on some of its samples; all of them for None."""
        if rows is None:
            return self
        preimages = self.preimages and self.preimages.of(rows)
        parts = {"x": self.x[rows], "z": self.z[rows], "weight": self.weight[rows]}
        return replace(self, **parts, preimages=preimages)

    def remembering(self):
        """The same objective; where it inverts, from what was found last for the same pairs."""
        if self.is_random or not getattr(self.loss, "inverts", False):
            return self
        return replace(self, preimages=Preimages(self.x.clone()))

    def part(self, rows):
        """The objective of some of its samples, all of them for None; weights of mean one."""
        part = self.split(rows)
        return replace(part, weight=part.weight / part.weight.mean())

    def drawn(self, generator):
        """The same objective with all that is random drawn."""
        if self.kernels is not None:
            x, z = self.kernels.draw(self.kernels.rows(len(self.x), generator), generator)
            weight = torch.ones_like(x[:, 0])
            return replace(self, x=x, z=z, weight=weight, kernels=None, noise=None)
        x, z = self.x, self.z
        if self.jitter is not None:
            jitter = _white(x, generator, self.jitter)
            x = x + jitter
            z = z if self.forward is None else z + self.forward(jitter)
        if self.noise is not None:
            z = z + _white(z, generator, self.noise)
        return replace(self, x=x, z=z, jitter=None, noise=None)

    def fixed(self, generator):
        """What full batches minimise: all that is random drawn once, noise for many samples."""
        n_samples = _REPLICATED if self.noise is not None else _DRAWN if self.kernels else 0
        n_copies = max(1, n_samples // len(self.x))
        return self.replicated(n_copies).drawn(generator)

    def replicated(self, n_copies):
        """The same objective with every sample several times, for as many draws of noise."""
        copies = (tensor.repeat_interleave(n_copies, 0) for tensor in (self.x, self.z, self.weight))
        return replace(self, **dict(zip(("x", "z", "weight"), copies, strict=True)))

    def mean_loss(self, network):
        """The mean loss, a Tensor of shape ()."""
        loss = self.loss
        if self.preimages is not None:
            loss = loss.starting_from(self.preimages)
        return (self.weight * loss(network, self.x, self.z)).mean() + self.constant

    def loss_and_penalised(self, network):
        """The mean loss, and what is minimised: the mean loss with the weight penalty."""
        network = network.for_step()
        loss = self.mean_loss(network)
        return loss, loss + self.decay * network.weight_penalty() if self.decay else loss

    def backward(self, network):
        """The mean loss, and what is minimised, two numbers; adds the gradient of the latter."""
        loss, penalised = self.loss_and_penalised(network)
        penalised.backward()
        return loss.item(), penalised.item()

    def iteration(self, batch_size, generator):
        """The mini-batches of one iteration: a pass over the pairs, or steps of fresh noise.

        With fresh noise a pair is never seen twice, or, where draws are dear, twice in other
        company; neither few nor many of them decide how long training has to last.

        Returns
        -------
        n_batches : int
        batches : iterable of Objective
            With all that is random drawn.
        """
        if self.is_endless:
            uses = 1 if self.kernels is None else self.kernels.uses
            samples = self.random_samples(FRESH_STEPS * batch_size // uses, generator)
            return samples.in_order(batch_size, uses, generator)
        n = len(self.x)
        order = torch.randperm(n, generator=generator, device="cpu")
        batches = order.tensor_split(max(1, n // batch_size))
        return len(batches), (self.split(rows).drawn(generator) for rows in batches)

    def random_samples(self, n, generator):
        """Samples at random, of which one may come several times, with all that is random drawn."""
        rows = torch.randint(len(self.x), (n,), generator=generator, device="cpu")
        return self.split(rows).drawn(generator)

    @classmethod
    def merged(cls, objectives):
        """One objective on the samples of several that differ in nothing else."""
        arrays = ([getattr(o, name) for o in objectives] for name in ("x", "z", "weight"))
        x, z, weight = map(torch.cat, arrays)
        return replace(objectives[0], x=x, z=z, weight=weight)

    def in_order(self, batch_size, uses=1, generator=None):
        """Mini-batches of samples as they come, as of :meth:`iteration`; then in other orders."""
        samples = self
        if uses > 1:
            n = len(self.x)
            others = [torch.randperm(n, generator=generator, device="cpu") for _ in range(uses - 1)]
            samples = self.split(torch.cat([torch.arange(n, device="cpu"), *others]))
        batches = slices(len(samples.x), batch_size)
        return len(batches), (samples.split(rows) for rows in batches)


def _white(like, generator, factor):
    """White noise times a matrix or a number, a row for each row of a tensor."""
    white = white_like(like.shape, like, generator)
    return white @ factor if factor.ndim else white * factor


def flat_values(parameters):
    """The values of parameters, one after the other, ndarray of shape (n_values,)."""
    return torch.cat([p.detach().cpu().double().ravel() for p in parameters]).numpy()


def flat_gradient(parameters):
    """Their gradients in the same order; zero where a parameter has none."""
    gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
    return torch.cat([g.cpu().double().ravel() for g in gradients]).numpy()


def assign(parameters, vector):
    """Give parameters the values of :func:`flat_values`; in place."""
    with torch.no_grad():
        for parameter, piece in _pieces(parameters, vector):
            parameter.copy_(piece)


def add_gradient(parameters, gradient):
    """Add to the gradients what :func:`flat_gradient` gives; in place."""
    for parameter, piece in _pieces(parameters, gradient):
        piece = piece.to(parameter)
        parameter.grad = piece if parameter.grad is None else parameter.grad + piece


def _pieces(parameters, vector):
    """Parameters, each with its part of a vector."""
    pieces = as_tensor(vector.copy()).split([p.numel() for p in parameters])
    return ((p, piece.view_as(p)) for p, piece in zip(parameters, pieces, strict=True))
