"""Adam and its step size."""

import math

import torch

from .interrupts import interrupts_wait

__all__ = ["Annealing", "new_adam", "take_step"]


def new_adam(parameters, learning_rate=1e-3, **options):
    """Adam for some parameters; the first one imports a large part of torch."""
    with interrupts_wait():
        return torch.optim.Adam(parameters, lr=learning_rate, **options)


def take_step(optimizer):
    """Let Adam take a step; its counters, which the first one makes, lie on the CPU.

    Before torch 2.5 they lie on the default device of torch, which the caller may have set.
    """
    if optimizer.state:
        optimizer.step()
        return
    with torch.device("cpu"):
        optimizer.step()


class Annealing:
    """The step size of Adam, which falls to zero along a cosine.

    Where training stalls before its time, the step size falls to zero within a tenth of all
    iterations: weights that are left at a large step are far from the minimum.
    """

    def __init__(self, optimizer, max_iter):
        self.optimizer, self.max_iter = optimizer, max_iter
        self.first = [group["lr"] for group in optimizer.param_groups]
        self.n_iter, self.start, self.length = 0, 0, max_iter
        self.height = 1.0

    def set_step(self, share):
        """Set the step size after so many iterations and this share of another one."""
        factor = self._factor(self.n_iter + share)
        for group, first in zip(self.optimizer.param_groups, self.first, strict=True):
            group["lr"] = first * factor

    def ends_after(self, stalls):
        """Count an iteration; True if training ends with it."""
        self.n_iter += 1
        if stalls and self.length == self.max_iter:
            left = self.max_iter - self.n_iter
            length = min(left, math.ceil(self.max_iter / 10))
            if length < left:
                self.height = self._factor(self.n_iter)
                self.start, self.length = self.n_iter, length
        return self.n_iter >= self.start + self.length

    def _factor(self, n_iter):
        return self.height * (1 + math.cos(math.pi * (n_iter - self.start) / self.length)) / 2
