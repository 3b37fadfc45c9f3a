"""Training: full-batch L-BFGS and mini-batch Adam over any loss of a network."""

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

__all__ = ["History", "Problem", "train"]

_MEMORY = 30  # pairs that L-BFGS remembers
_FIRST_STEP = 0.02  # length of its first step: short, for networks that start near their optimum


@dataclass
class Problem:
    """What is to be learned: a loss and the pairs it is averaged over.

    Attributes
    ----------
    loss : callable
        ``loss(network, x, z)`` → Tensor of shape (n_samples,).
    x, z : Tensors of shape (n_samples, n_features)
        Signals and targets.
    weight : Tensor of shape (n_samples,)
        Weights of the samples, of mean one.
    bandwidth : float
        Standard deviation of the jitter added to x, fresh at every step of Adam.
    forward : callable or None
        The linear map of rows that carries the jitter over to z; None where z stays.
    constant : float
        What is added to the mean loss.
    decay : float
        Weight of ``network.weight_penalty()`` in the objective. The histories leave it out.
    """

    loss: object
    x: torch.Tensor
    z: torch.Tensor
    weight: torch.Tensor
    bandwidth: float = 0.0
    forward: object = None
    constant: float = 0.0
    decay: float = 0.0
    without_known: bool = False

    def split(self, rows):
        """The same problem on some of its samples."""
        return replace(self, x=self.x[rows], z=self.z[rows], weight=self.weight[rows])

    def jittered(self, generator):
        """The same problem for signals smoothed by a Gaussian of the bandwidth."""
        if self.bandwidth == 0:
            return self
        jitter = self.bandwidth * torch.randn(
            self.x.shape, dtype=self.x.dtype, generator=generator
        ).to(self.x.device)
        z = self.z if self.forward is None else self.z + self.forward(jitter)
        return replace(self, x=self.x + jitter, z=z, bandwidth=0.0)

    def value(self, network):
        """The mean loss."""
        return (self.weight * self.loss(network, self.x, self.z)).mean() + self.constant

    def objective(self, network):
        """The mean loss, and what training minimises: the loss with the weight penalty."""
        loss = self.value(network)
        return loss, loss + self.decay * network.weight_penalty() if self.decay else loss


@dataclass
class History:
    """Course of a training.

    Attributes
    ----------
    loss_curve, validation_loss_curve : list of float
        Mean loss after every iteration, on the training and on the validation samples.
    best_loss : float
        The lowest loss, on the validation samples where there are any.
    interrupted : bool
        Whether the keyboard or a callback ended the training.
    """

    loss_curve: list = field(default_factory=list)
    validation_loss_curve: list = field(default_factory=list)
    best_loss: float = np.inf
    interrupted: bool = False


def train(
    network,
    problem,
    *,
    solver,
    validation=None,
    max_iter=200,
    tol=1e-4,
    batch_size=128,
    learning_rate_init=1e-3,
    n_iter_no_change=10,
    optimizer=None,
    generator=None,
    callback=None,
):
    """Minimise the mean loss of a network, in place.

    During the steps of Adam it is in training mode, at the end in eval mode.

    Parameters
    ----------
    network : Module
        The network; at the end it carries the last weights, or with a validation problem the best.
    problem : Problem
        Loss and training pairs.
    solver : {"lbfgs", "adam"}
        Full-batch quasi-Newton, or mini-batches.
    validation : Problem, default=None
        Pairs for early stopping.
    max_iter : int, default=200
        Iterations of L-BFGS, or epochs of Adam.
    tol : float, default=1e-4
        Least improvement of the loss that counts, relative to its size.
    batch_size : int, default=128
        Pairs in each step of Adam.
    learning_rate_init : float, default=1e-3
        First step size of Adam; it falls to zero along a cosine.
    n_iter_no_change : int, default=10
        Training stops after so many iterations without improvement: of the best validation loss,
        or without validation of the mean training loss over the so many iterations before.
    optimizer : torch.optim.Optimizer, default=None
        Go on with this one, at its step size, instead of a fresh Adam.
    generator : torch.Generator, default=None
        Source of the batches and the jitter.
    callback : callable, default=None
        Called after every iteration with the History; training stops where it returns True.

    Returns
    -------
    history : History
        Course of the training.

    Raises
    ------
    ValueError
        If the loss is not finite in the first iteration.

    Warns
    -----
    ConvergenceWarning
        If the loss stops being finite, or the keyboard interrupts; the best weights are restored.
    """
    monitor = _Monitor(network, validation, tol, n_iter_no_change, callback)
    try:
        if solver == "lbfgs":
            _lbfgs(network, problem, monitor, max_iter, generator)
        else:
            options = (max_iter, batch_size, learning_rate_init, optimizer, generator)
            _adam(network, problem, monitor, *options)
    except _Diverged:
        monitor.restore()
        if not monitor.history.loss_curve:
            raise ValueError(
                "The loss is not finite in the first iteration. Lower learning_rate_init, or check "
                "the sizes of X, y and epsilon."
            ) from None
        warnings.warn(
            f"Training diverged after iteration {len(monitor.history.loss_curve)}; the last good "
            "weights were restored. Lower learning_rate_init or epsilon, or raise prior_bandwidth.",
            ConvergenceWarning,
            stacklevel=2,
        )
    except KeyboardInterrupt:
        monitor.history.interrupted = True
        monitor.restore()
        warnings.warn(
            f"Training was interrupted after iteration {len(monitor.history.loss_curve)}; the best "
            "weights so far were restored.",
            ConvergenceWarning,
            stacklevel=2,
        )
    finally:
        network.eval()
    if validation is not None:
        monitor.restore()
    return monitor.history


class _Diverged(Exception):
    pass


class _Monitor:
    """Records every iteration, keeps the best weights and says when to stop."""

    def __init__(self, network, validation, tol, patience, callback):
        self.network, self.validation, self.callback = network, validation, callback
        self.tol, self.patience = tol, patience
        self.history = History()
        self.objectives = []
        self.waited = 0
        self.best_state = _copy_state(network)

    def __call__(self, loss, objective):
        """Record the loss, and what was minimised, of one iteration; True to stop training."""
        if not np.isfinite(loss):
            raise _Diverged
        history = self.history
        self.objectives.append(objective)
        history.loss_curve.append(loss)
        if self.validation is not None:
            with torch.no_grad():
                loss = float(self.validation.value(self.network))
            history.validation_loss_curve.append(loss)
        improved = loss < history.best_loss - self.tol * abs(loss)
        self.waited = 0 if improved else self.waited + 1
        if loss < history.best_loss:
            history.best_loss = loss
            self.best_state = _copy_state(self.network)
        if self.callback is not None and self.callback(history):
            history.interrupted = True
        return history.interrupted or self._stuck()

    def _stuck(self):
        """Whether what is judged no longer falls; in training, which may be noisy, on average."""
        if self.validation is not None:
            return self.waited >= self.patience
        last = self.objectives[-2 * self.patience :]
        if len(last) < 2 * self.patience:
            return False
        before, now = np.mean(last[: self.patience]), np.mean(last[self.patience :])
        return now > before - self.tol * abs(before)

    def restore(self):
        self.network.load_state_dict(self.best_state)


def _copy_state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def _lbfgs(network, problem, monitor, max_iter, generator):
    """SciPy's L-BFGS with its Wolfe line search; the jitter, if any, is drawn once."""
    parameters = list(network.parameters())
    problem = problem.jittered(generator)
    losses = {}  # of the evaluated points, by their bytes: the last few of a line search

    start = torch.cat([p.detach().cpu().double().ravel() for p in parameters]).numpy()

    def objective(vector):
        _assign(parameters, start + _FIRST_STEP * vector)
        network.zero_grad()
        loss, total = problem.objective(network)
        total.backward()
        if not torch.isfinite(total):
            raise _Diverged
        losses[vector.tobytes()] = values = loss.item(), total.item()
        return values[1], _FIRST_STEP * _gradient(parameters)

    def after_iteration(intermediate_result):
        vector = intermediate_result.x
        _assign(parameters, start + _FIRST_STEP * vector)
        values = losses[vector.tobytes()]
        losses.clear()
        if monitor(*values):
            raise StopIteration

    options = {"maxiter": max_iter, "maxfun": 10 * max_iter, "maxcor": _MEMORY}
    options |= {"ftol": 1e-13, "gtol": 1e-10}
    result = minimize(
        objective,
        np.zeros_like(start),
        jac=True,
        method="L-BFGS-B",
        callback=after_iteration,
        options=options,
    )
    _assign(parameters, start + _FIRST_STEP * result.x)


def _assign(parameters, vector):
    with torch.no_grad():
        pieces = torch.from_numpy(vector.copy()).split([p.numel() for p in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))


def _gradient(parameters):
    gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
    return torch.cat([g.cpu().double().ravel() for g in gradients]).numpy()


def _adam(network, problem, monitor, max_iter, batch_size, learning_rate, optimizer, generator):
    n = len(problem.x)
    steps = max(1, n // batch_size)
    schedule = None
    if optimizer is None:
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps * max_iter)
    for _ in range(max_iter):
        network.train()
        mean_loss = mean_objective = 0.0
        for rows in torch.randperm(n, generator=generator).tensor_split(steps):
            batch = problem.split(rows).jittered(generator)
            loss, penalised = batch.objective(network)
            value = penalised.item()
            if not np.isfinite(value):
                raise _Diverged
            optimizer.zero_grad()
            penalised.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            mean_loss += loss.item() * len(rows) / n
            mean_objective += value * len(rows) / n
        network.eval()
        if monitor(mean_loss, mean_objective):
            break
