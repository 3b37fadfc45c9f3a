"""Adam and its step size."""

import math

import torch
from torch.optim.adam import adam

__all__ = ["Adam", "Annealing"]


class Adam:
    """Adam, by torch's own steps (Kingma and Ba, 2015, algorithm 1).

    ``torch.optim.Adam`` takes the same ones, but the first of a process imports torch's compiler,
    which takes a second and 40 MiB that a small training does not.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        What is trained.
    learning_rate : float, default=1e-3
        Step size.
    moments : list of dict, default=None
        Where another Adam of as many parameters has come to; copied to the devices of these.

    Attributes
    ----------
    moments : list of dict
        For each parameter its number of steps, ``"step"``, and the means of its gradients and of
        their squares, ``"exp_avg"`` and ``"exp_avg_sq"``; nothing before its first step.
    """

    def __init__(self, parameters, learning_rate=1e-3, moments=None):
        self.parameters, self.learning_rate = list(parameters), learning_rate
        moments = [{} for _ in self.parameters] if moments is None else moments
        self.moments = [
            {name: value.to(parameter.device, copy=True) for name, value in of_one.items()}
            for parameter, of_one in zip(self.parameters, moments, strict=True)
        ]

    def zero_grad(self):
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        """Take a step with the parameters that have a gradient."""
        known = [k for k, parameter in enumerate(self.parameters) if parameter.grad is not None]
        parameters, moments = [self.parameters[k] for k in known], [self.moments[k] for k in known]
        for parameter, of_one in zip(parameters, moments, strict=True):
            if not of_one:
                of_one["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                of_one["exp_avg"] = torch.zeros_like(parameter)
                of_one["exp_avg_sq"] = torch.zeros_like(parameter)
        adam(
            parameters,
            [parameter.grad for parameter in parameters],
            [of_one["exp_avg"] for of_one in moments],
            [of_one["exp_avg_sq"] for of_one in moments],
            [],
            [of_one["step"] for of_one in moments],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        for parameter in parameters:  # which torch's fused step changes without a word
            torch.autograd.graph.increment_version(parameter)


class Annealing:
    """The step size of Adam, which falls to zero along a cosine.

    Where training stalls before its time, the step size falls to zero within a tenth of all
    iterations: weights that are left at a large step are far from the minimum.
    """

    def __init__(self, optimizer, max_iter):
        self.optimizer, self.max_iter = optimizer, max_iter
        self.first = optimizer.learning_rate
        self.n_iter, self.start, self.length = 0, 0, max_iter
        self.height = 1.0

    def set_step(self, share):
        """Set the step size after so many iterations and this share of another one."""
        self.optimizer.learning_rate = self.first * self._factor(self.n_iter + share)

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
