"""Training as a function: from a specification and pairs to a trained network.

The problem is read off the pairs, a network is made for it, and it is trained in stages, each of
which minimises the mean of one loss.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from ..inversion import InvertibleMap
from ..networks.explicit_inverse import build_network
from ..numerics.warn import warn_caller
from ..problem.clusters import ClusterPosterior
from ..problem.coordinates import rounded_rows
from ..problem.gaussian import unit_optimum
from ..problem.inverse_problem import InverseProblem
from ..problem.smoothed_prior import SmoothedPrior
from .calibration import calibrate_null_space
from .guard import (
    best_share,
    blend,
    linear_errors,
    prior_errors,
    reconstruction_errors,
    surely_positive,
)
from .objective import PRECISION, drawn_from, learns_rest, objective_of, tensor
from .optimize import History, minimize
from .prior import chosen_prior, refitted_prior
from .progress import progress_bar

__all__ = ["Continuation", "Trained", "fit", "partial_fit", "resized"]

_HELD_OUT, _MOST_HELD_OUT = 0.15, 2000  # share and number of the pairs that a trial sets aside
_TRIAL = 1 / 3  # share of the iterations
_NEARLY = 1.03  # times the error that a prior allows


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
        network = _rebuilt(self.network, self.network.config, self.problem)
        return replace(self, network=network)


# ------------------------------------------------------------------------------------- training


def fit(specification, pairs, *, previous=None, report=None):
    """Train a network on pairs.

    Parameters
    ----------
    specification : TrainingSpecification
        What is to be trained and how.
    pairs : Pairs
        Distinct pairs.
    previous : Trained, default=None
        Start from the network and the coordinates of this one, and skip the first stage.
    report : callable, default=None
        Called with the Trained so far after every iteration; training stops where it returns True.

    Returns
    -------
    trained : Trained
        The network, in double precision, and all that belongs to it.
    """
    rng = check_random_state(specification.random_state)
    problem = specification.problem_of(pairs, rng)
    if previous is not None:
        problem = replace(problem, coordinates=previous.problem.coordinates)
        return _train(specification, problem, pairs, rng, previous=previous, report=report)
    share, prior = 0.0, None
    if specification.has_trial(problem, len(pairs.X)):
        trial, share, prior, _ = _trial(specification, problem, pairs, rng)
        if trial is not None and trial.history.interrupted:
            return trial
    if share == 1:
        return _linear(specification, problem, pairs, rng)
    if prior is not None:
        prior = refitted_prior(prior, problem, pairs)
    trained = _train(specification, problem, pairs, rng, prior=prior, report=report)
    if specification.is_guarded(problem):
        if trained.network.explicit_inverse is None or trained.split[1] is not None:
            # a short trial by Adam has not learned enough to judge more than the linear estimator
            share = share if specification.solver_for(problem, pairs.X) == "lbfgs" else 0.0
            share = max(share, _share_after(specification, trained, pairs))
        blend(trained.network, share)
        if prior is None or not prior.is_mixture:
            _calibrate(specification, trained, pairs)
    return trained


def _calibrate(specification, trained, pairs):
    """Let the average errors of the training signals set what no measurement can."""
    problem, network = trained.problem, trained.network
    if network.explicit_inverse is None or problem.operator is None:
        return
    drawn = objective_of(specification, trained, specification.loss, pairs, "lbfgs")
    drawn = drawn.drawn(trained.continuation.generator)
    forward = problem.unit_forward.matrix(drawn.x)
    epsilon = problem.coordinates.unit_weight(problem.noise_level**2)
    calibrate_null_space(network, drawn.x, drawn.z, forward, epsilon)


def _train(
    specification, problem, pairs, rng, *, previous=None, prior=None, report=None, trial=False
):
    """Train in stages, on the pairs or on draws of a smoothed prior."""
    generator = _generator(rng)
    solver = specification.solver_for(problem, pairs.X)
    if previous is None:
        network = _new_network(specification, problem, pairs, PRECISION[solver], generator)
    else:
        network = _same_network(specification, problem, previous.network)
    trained = _start(specification, network, problem, generator, pairs.weight.sum())
    trained.split = _split(specification, len(pairs.X), rng)
    for loss_class, n_iter in specification.stages(solver, continued=previous is not None):
        objective = objective_of(specification, trained, loss_class, pairs, solver)
        trained.bandwidth = specification.bandwidth_for(problem, objective.loss)
        objective = objective if prior is None else drawn_from(objective, prior)
        history = _run(specification, trained, objective, solver, n_iter, trained.split, report)
        trained.history = trained.history.followed_by(
            _in_user_units(history, objective.loss, problem.coordinates)
        )
        if history.interrupted:
            break
        if loss_class is specification.loss and len(history.loss_curve) == n_iter and not trial:
            _warn_if_unfinished(history, specification.max_iter)
    return trained


def _warn_if_unfinished(history, max_iter):
    if history.still_improves():
        warn_caller(
            f"The loss was still falling when training ended after max_iter={max_iter} iterations: "
            "raise max_iter.",
            ConvergenceWarning,
        )


class _Verdict(NamedTuple):
    """What held-out pairs say about short trainings on the others."""

    trained: Trained
    share: float  # of the linear estimator; 1 for nothing else
    prior: SmoothedPrior | None  # what to draw from, one of fewer pairs; None for the pairs
    errors: np.ndarray  # of the held-out signals


def _trial(specification, problem, pairs, rng):
    """Try the linear estimator, a smoothed prior and the pairs themselves; the best of them."""
    n = len(pairs.X)
    n_held = min(max(int(_HELD_OUT * n), min(20, n // 2)), _MOST_HELD_OUT)
    kept, held = train_test_split(np.arange(n), test_size=n_held, random_state=rng)
    few, others = pairs.rows(kept), pairs.rows(held)
    targets = problem.targets(others.Y)[None]
    if specification.fresh_noise(problem, specification.loss) is not None:
        copies = max(2, _MOST_HELD_OUT // n_held)
        targets = problem.noisy_targets(problem.clean_targets(*pairs)[held], copies, rng)
    linear = specification.renewed(replace(problem, bandwidth=0.0), few)  # of the prior itself
    problem = specification.renewed(problem, few)
    short = replace(
        specification,
        max_iter=math.ceil(specification.max_iter * _TRIAL),
        early_stopping=False,
        verbose=False,
    )

    def verdict(prior):
        trained = _train(short, problem, few, rng, prior=prior, trial=True)
        share = 0.0 if prior is not None else _share(specification, trained, others.X, targets)
        errors = reconstruction_errors(trained.network, problem, others.X, targets, share)
        return _Verdict(trained, share, prior, errors)

    errors = linear_errors(linear, others.X, targets)
    best = _Verdict(None, 1.0, None, errors)
    prior = chosen_prior(problem, few, rng) if specification.smooths(problem) else None
    if prior is not None:
        smoothed = verdict(prior)
        if smoothed.trained.history.interrupted:
            return smoothed
        if surely_positive(errors - smoothed.errors):
            best = smoothed
            ideal = prior_errors(prior, problem, others.X, targets)
            if smoothed.errors.mean() <= _NEARLY * ideal.mean():
                return best
    raw = verdict(None)
    gain = best.errors - raw.errors
    wins = gain.mean() > 0 if best.prior is None else surely_positive(gain)
    return raw if wins or raw.trained.history.interrupted else best


def _share_after(specification, trained, pairs):
    """The share of the linear estimator after a training that has not seen the pairs' noise.

    An explicit inverse has: its loss is the error itself. Only pairs set aside can judge it.
    """
    rows = trained.split[1]
    pairs = pairs if rows is None else pairs.rows(rows)
    return _share(specification, trained, pairs.X, trained.problem.targets(pairs.Y)[None])


def _share(specification, trained, X, targets):
    """The share of the linear estimator that suits these signals."""
    gain = specification.loss.worthwhile_gain
    return best_share(trained.network, trained.problem, X, targets, worthwhile_gain=gain)


def _linear(specification, problem, pairs, rng):
    """The linear minimum mean square error estimator as a network."""
    generator = _generator(rng)
    problem = specification.renewed(replace(problem, bandwidth=0.0), pairs)
    network = _new_network(specification, problem, pairs, torch.float64, generator)
    blend(network, 1.0)
    trained = _start(specification, network, problem, generator, pairs.weight.sum())
    objective = objective_of(specification, trained, specification.loss, pairs, "lbfgs")
    with torch.no_grad():
        loss = float(objective.drawn(generator).mean_loss(network))
    trained.bandwidth = specification.bandwidth_for(problem, objective.loss)
    trained.history = _in_user_units(
        History([loss], best_loss=loss), objective.loss, problem.coordinates
    )
    warn_caller(
        "On pairs that were held out, the network did not reconstruct better than the linear "
        "minimum mean square error (LMMSE) estimator, so fit returns that estimator. For Gaussian "
        "signals there is none better; otherwise more pairs help, or more iterations."
    )
    return trained


def partial_fit(specification, pairs, *, previous=None):
    """Train for one pass of Adam over pairs.

    Parameters
    ----------
    specification, pairs
        As in :func:`fit`.
    previous : Trained, default=None
        What to go on with: its problem, network and optimizer are kept.

    Returns
    -------
    trained : Trained
        The network, with the mean loss of this pass as the last of its history.
    """
    trained = _begin(specification, pairs) if previous is None else replace(previous)
    state = trained.continuation
    trained.continuation = state = replace(state, n_seen=state.n_seen + pairs.weight.sum())
    if state.optimizer is None:
        parameters = trained.network.parameters()
        state.optimizer = torch.optim.Adam(parameters, lr=specification.first_step)
    objective = objective_of(specification, trained, specification.loss, pairs, "adam")
    trained.bandwidth = specification.bandwidth_for(trained.problem, objective.loss)
    whole, no_report = (None, None), None
    history = _run(specification, trained, objective, "adam", 1, whole, no_report, state.optimizer)
    new = _in_user_units(history, objective.loss, trained.problem.coordinates)
    trained.history = trained.history.followed_by(new)
    trained.history.best_loss = min(trained.history.loss_curve)
    return trained


def resized(specification, trained):
    """The same filters for an operator and images of another size; nothing is trained.

    Parameters
    ----------
    specification : TrainingSpecification
        With the operator and the image shape that are wanted.
    trained : Trained
        What was trained on images of some size.

    Returns
    -------
    trained : Trained
        With a network and a problem of the new size.
    """
    architecture, network = specification.architecture, trained.network
    options = specification.branch.options_at(architecture, network.config["block_options"])
    problem = trained.problem.resized(specification.operator, architecture.n_features)
    config = specification.network_config(problem, options)
    network, state = _rebuilt(network, config, problem), trained.continuation
    state = Continuation(copy.deepcopy(state.generator), None, state.n_seen)
    return replace(trained, network=network, problem=problem, continuation=state)


# ------------------------------------------------------------------------------------ the parts


def _generator(rng):
    return torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))


def _begin(specification, pairs):
    """A problem and an untrained network, before the first pass."""
    rng = check_random_state(specification.random_state)
    problem, generator = specification.problem_of(pairs, rng), _generator(rng)
    network = _new_network(specification, problem, pairs, torch.float32, generator)
    return _start(specification, network, problem, generator, 0)


def _start(specification, network, problem, generator, n_seen):
    """A Trained before its first iteration."""
    return Trained(
        network=network,
        problem=problem,
        epsilon=specification.epsilon_for(problem),
        bandwidth=problem.bandwidth,
        history=History(),
        continuation=Continuation(generator, None, n_seen),
    )


def _new_network(specification, problem, pairs, dtype, generator):
    """A network that starts from the optimum for Gaussian signals, or for clusters of them."""
    knows_forward = specification.knows_forward(problem)
    known = problem.unit_forward if knows_forward else None
    config = specification.network_config(problem)
    network = build_network(config, known=known, generator=generator)
    network.to(dtype=dtype, device=specification.device)
    u = rounded_rows(problem.coordinates.from_signals(pairs.X), network.device, dtype)
    weight = tensor(pairs.weight / pairs.weight.sum(), network.device, dtype)
    mean = weight @ u
    deviations = weight.sqrt()[:, None] * (u - mean)
    if specification.is_natural:
        slope = torch.eye(u.shape[1]).to(
            u
        )  # of Gaussian signals, the optimum of regularised losses
    else:
        condition = specification.architecture.max_condition
        slope = unit_optimum(problem, deviations, whole=not knows_forward, max_condition=condition)
    network.initialize(mean, deviations, slope)
    if specification.explicit_inverse:
        _start_from_clusters(network.explicit_inverse.blocks[0], problem, u, pairs.weight)
    return network


def _start_from_clusters(block, problem, u, weight):
    """Give a block that is the inverse the posterior mean of clusters of signals."""
    epsilon = problem.coordinates.unit_weight(problem.noise_level**2)
    if epsilon == 0:
        return
    found = ClusterPosterior.from_signals(
        u.double().cpu().numpy(),
        weight,
        forward=problem.unit_forward.matrix(u.double()).cpu().numpy(),
        epsilon=epsilon,
        n_clusters=block.n_pieces,
        random_state=0,
    )
    *arrays, sharpness = found
    block.start_from(*(torch.from_numpy(array).to(u) for array in arrays), sharpness)


def _same_network(specification, problem, network):
    """The network at hand, refused with a ValueError if another one is asked for."""
    config = specification.network_config(problem)
    if config != network.config:
        raise ValueError(
            "warm_start=True continues with the network at hand, which was made with "
            f"{network.config}; X and the parameters now ask for {config}. Set "
            "warm_start=False, or keep them."
        )
    return _rebuilt(network, config, problem) if network.knows_forward else network


def _rebuilt(network, config, problem):
    """A network of the same weights and this configuration, with the G of a problem."""
    known = problem.unit_forward if config["known_bounds"] is not None else None
    other = build_network(config, known=known)
    other.load_state_dict(network.state_dict())
    return other.to(network.device, torch.float64)


def _split(specification, n_samples, rng):
    """The rows to train on and those to validate with; (None, None) for all rows and none."""
    if not specification.early_stopping:
        return None, None
    fraction = specification.validation_fraction
    return train_test_split(np.arange(n_samples), test_size=fraction, random_state=rng)


def _run(specification, trained, objective, solver, max_iter, split, report, optimizer=None):
    """Minimise one objective, with progress bar, callbacks and, after a split, early stopping."""
    training_rows, validation_rows = split
    trained.network.to(PRECISION[solver])
    rest = learns_rest(trained.network, objective.loss)
    title = f"{specification.title}: {type(objective.loss).__name__}"
    with progress_bar(title, max_iter, specification.verbose) as progress:

        def callback(history):
            progress(_in_user_units(history, objective.loss, trained.problem.coordinates))
            return report is not None and report(trained)

        try:
            return minimize(
                trained.network.rest() if rest else trained.network,
                objective.split(training_rows),
                validation=None if validation_rows is None else objective.split(validation_rows),
                solver=solver,
                max_iter=max_iter,
                tol=specification.tol,
                batch_size=specification.n_batch,
                learning_rate_init=specification.first_step,
                n_iter_no_change=specification.n_iter_no_change,
                optimizer=optimizer,
                generator=trained.continuation.generator,
                callback=callback,
            )
        finally:
            trained.network.to(torch.float64)


def _in_user_units(history, loss, coordinates):
    """The same history with losses in the user's units."""

    def convert(values):
        return [float(loss.in_user_units(value, coordinates)) for value in values]

    (best_loss,) = convert([history.best_loss])
    curves = convert(history.loss_curve), convert(history.validation_loss_curve)
    return History(*curves, best_loss, history.interrupted)
