"""Minimisation of the mean of any loss over pairs: full-batch L-BFGS and mini-batch Adam."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize as scipy_minimize
from sklearn.exceptions import ConvergenceWarning

from ..numerics.warn import warn_caller
from .adam import Adam, Annealing
from .interrupts import is_one_of_many
from .mean_loss import assign, flat_gradient, flat_values

__all__ = ["History", "StoppingRule", "minimize"]

_MEMORY = 30  # pairs that L-BFGS remembers
_NOTICEABLE = 0.05  # share of all that was gained
_FIRST_STEP = 0.02  # length of its first step: short, for networks that start near their optimum


@dataclass
class History:
    """Course of a training.

    Attributes
    ----------
    loss_curve, validation_loss_curve : list of float
        Mean loss after every iteration, on the training and on the validation samples.
    best_loss : float
        The lowest loss, on the validation samples where there are any.
    best_weights : dict or None
        The state of the network that has it.
    interrupted : bool
        Whether the keyboard or a callback ended the training.
    stages : list of tuple
        Name of the loss of each stage, and number of its iterations.
    """

    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_loss: float = np.inf
    best_weights: dict[str, Any] | None = None
    interrupted: bool = False
    stages: list[tuple[str, int]] = field(default_factory=list)

    def still_improves(self):
        """Whether the second half of the iterations lowered the loss noticeably.

        By more than a twentieth of all that was gained, and than its fluctuations explain. The last
        iterations alone tell nothing where the step size falls to zero.
        """
        curve = np.array(self.loss_curve)
        if len(curve) < 2:
            return False
        k, half = max(len(curve) // 10, 1), len(curve) // 2
        middle, last = curve[max(half - k, 0) : half], curve[-k:]
        fluctuation = 3 * np.hypot(middle.std(), last.std()) / np.sqrt(k)
        gain, total = middle.mean() - last.mean(), curve[0] - last.mean()
        return bool(gain > max(_NOTICEABLE * total, fluctuation, 1e-3 * abs(last.mean())))

    def followed_by(self, other):
        """The course of this training and of another one after it, whose verdict counts."""
        validation = []
        if self.validation_loss_curve or other.validation_loss_curve:
            validation = self._validation() + other._validation()
        return replace(
            other,
            loss_curve=self.loss_curve + other.loss_curve,
            validation_loss_curve=validation,
            stages=_joined(self.stages, other.stages),
        )

    def _validation(self):
        """The validation loss after every iteration, NaN where there was none."""
        return self.validation_loss_curve or [np.nan] * len(self.loss_curve)


def _joined(first, second):
    """The stages of two trainings; what goes on with the same loss is one stage."""
    if not first or not second or first[-1][0] != second[0][0]:
        return [*first, *second]
    (name, n_first), (_, n_second) = first[-1], second[0]
    return [*first[:-1], (name, n_first + n_second), *second[1:]]


class StoppingRule:
    """When training stops: after ``patience`` iterations without improvement.

    With validation pairs, the best validation loss must improve. Without them the training loss
    may be noisy, so its mean over the last ``patience`` iterations is compared with the mean over
    the ``patience`` iterations before.

    Parameters
    ----------
    tol : float
        Least improvement that counts, relative to the size of the loss.
    patience : int
        Number of iterations.
    """

    def __init__(self, tol, patience):
        self.tol, self.patience = tol, patience
        self.values, self.best, self.n_waited = [], np.inf, 0

    def validation_stalls(self, loss):
        """Record a validation loss; True if the best one stopped improving."""
        improved = loss < self.best - self.tol * abs(loss)
        self.n_waited = 0 if improved else self.n_waited + 1
        self.best = min(self.best, loss)
        return self.n_waited >= self.patience

    def training_stalls(self, value):
        """Record a value of the training objective; True if its mean stopped falling."""
        self.values.append(value)
        last = self.values[-2 * self.patience :]
        if len(last) < 2 * self.patience:
            return False
        before, now = np.mean(last[: self.patience]), np.mean(last[self.patience :])
        return now > before - self.tol * abs(before)


@torch.enable_grad()
def minimize(
    network,
    objective,
    *,
    solver,
    validation=None,
    max_iter=200,
    tol=1e-5,
    batch_size=128,
    learning_rate_init=3e-3,
    n_iter_no_change=10,
    optimizer=None,
    generator=None,
    callback=None,
    n_before=0,
):
    """Minimise the mean loss of a network, in place; it ends in eval mode.

    Parameters
    ----------
    network : Module
        It ends with its last weights; after early stopping, an interrupt or divergence the best.
    objective, validation : Objective or ChunkedObjective
        Loss and pairs, those of the training and those of early stopping.
    solver, max_iter, batch_size, learning_rate_init, tol, n_iter_no_change
        As the parameters of the estimators; the last two are for the :class:`StoppingRule`.
    optimizer : Adam, default=None
        Continue with this one, at its step size, instead of a fresh Adam.
    generator : torch.Generator, default=None
        Source of all that is drawn.
    callback : callable, default=None
        Called after every iteration with the History; training stops where it returns True.
    n_before : int, default=0
        Iterations before, for warnings.

    Returns
    -------
    history : History

    Raises
    ------
    ValueError
        If the loss is not finite in the first iteration; later, that is a ConvergenceWarning.
    KeyboardInterrupt
        Where joblib runs this as one of many; elsewhere it is a ConvergenceWarning.
    """
    rule, noisy = StoppingRule(tol, n_iter_no_change), objective.is_random and solver == "adam"
    recorder = _Recorder(network, validation, rule, callback, noisy, n_before)
    solve, options = _lbfgs, (max_iter, generator)
    if solver == "adam":
        solve, options = _adam, (max_iter, batch_size, learning_rate_init, optimizer, generator)
    try:
        solve(network, objective, recorder, *options)
    except (_NotFinite, torch.linalg.LinAlgError, KeyboardInterrupt) as reason:
        recorder.give_up(reason)
    finally:
        network.eval()
    return recorder.finished()


class _NotFinite(Exception):
    """The loss is not finite."""


class _Recorder:
    """Records every iteration, keeps the best weights and asks the rule when to stop."""

    def __init__(self, network, validation, rule, callback, noisy, n_before):
        self.network, self.validation = network, validation
        self.rule, self.callback, self.noisy, self.n_before = rule, callback, noisy, n_before
        self.history = History(best_weights=_copy_state(network))

    def __call__(self, loss, penalised):
        """Record the mean loss, and what was minimised, of one iteration; True to stop."""
        if not np.isfinite(loss):
            raise _NotFinite
        history = self.history
        history.loss_curve.append(loss)
        if self.validation is None:
            stalls = not self.noisy and self.rule.training_stalls(penalised)
        else:
            with torch.no_grad():
                loss = float(self.validation.mean_loss(self.network))
            history.validation_loss_curve.append(loss)
            stalls = self.rule.validation_stalls(loss)
        if loss < history.best_loss:
            history.best_loss = loss
            history.best_weights = _copy_state(self.network)
        if self.callback is not None and self.callback(history):
            history.interrupted = True
        return history.interrupted or stalls

    def finished(self):
        """The History; with early stopping the network gets its best weights."""
        if self.validation is not None:
            self.restore()
        return self.history

    def restore(self):
        """Give the network its best weights."""
        self.network.load_state_dict(self.history.best_weights)

    def give_up(self, reason):
        """End the training with the best weights and a warning, or with an error."""
        self.restore()
        is_first = not self.history.loss_curve
        n_iter = self.n_before + len(self.history.loss_curve)
        if isinstance(reason, KeyboardInterrupt):
            if is_one_of_many():
                raise reason
            self.history.interrupted = True
            warn_caller(
                f"Training was interrupted after iteration {n_iter}; the best weights so far were "
                "restored.",
                ConvergenceWarning,
            )
        elif is_first:
            raise ValueError(
                "The loss is not finite in the first iteration. Lower learning_rate_init, or check "
                "the sizes of X, y and epsilon."
            ) from None
        else:
            warn_caller(
                f"Training diverged after iteration {n_iter}; the best weights were restored. "
                "Lower learning_rate_init or epsilon, or raise prior_bandwidth.",
                ConvergenceWarning,
            )


def _copy_state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def _lbfgs(network, objective, recorder, max_iter, generator):
    """SciPy's L-BFGS with its Wolfe line search; the jitter, if any, is drawn once."""
    parameters = list(network.parameters())
    objective = objective.fixed(generator)
    losses = {}  # of the points of the last line search, by their bytes

    start = flat_values(parameters)

    def value_and_gradient(vector):
        assign(parameters, start + _FIRST_STEP * vector)
        network.zero_grad()
        losses[vector.tobytes()] = loss, penalised = objective.backward(network)
        if not np.isfinite(penalised):
            raise _NotFinite
        return penalised, _FIRST_STEP * flat_gradient(parameters)

    def after_iteration(intermediate_result):
        vector = intermediate_result.x
        assign(parameters, start + _FIRST_STEP * vector)
        values = losses[vector.tobytes()]
        losses.clear()
        if recorder(*values):
            raise StopIteration

    options = {"maxiter": max_iter, "maxfun": 10 * max_iter, "maxcor": _MEMORY}
    options |= {"ftol": 1e-13, "gtol": 1e-10}
    result = scipy_minimize(
        value_and_gradient,
        np.zeros_like(start),
        jac=True,
        method="L-BFGS-B",
        callback=after_iteration,
        options=options,
    )
    assign(parameters, start + _FIRST_STEP * result.x)


def _adam(network, objective, recorder, max_iter, batch_size, learning_rate, optimizer, generator):
    """Iterations of Adam over random mini-batches, with jitter and noise fresh in each of them."""
    schedule = None
    if optimizer is None:
        optimizer = Adam(network.parameters(), learning_rate)
        schedule = Annealing(optimizer, max_iter)
        objective = objective.remembering()
    for _ in range(max_iter):
        network.train()
        losses, sizes = [], []
        n_batches, batches = objective.iteration(batch_size, generator)
        for n_done, batch in enumerate(batches):
            if schedule is not None:
                schedule.set_step(n_done / n_batches)
            values = batch.loss_and_penalised(network)
            losses.append([value.item() for value in values])
            sizes.append(len(batch.x))
            if not np.isfinite(losses[-1]).all():
                raise _NotFinite
            optimizer.zero_grad()
            values[1].backward()
            optimizer.step()
        network.eval()
        stalls = recorder(*np.average(losses, axis=0, weights=sizes))
        if schedule is not None and not recorder.history.interrupted:
            stalls = schedule.ends_after(stalls)
        if stalls:
            break
