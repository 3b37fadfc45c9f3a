"""Training as a function: from a specification and pairs to a trained network.

The problem is read off the pairs, a network is made for it, and it is trained in stages, each of
which minimises the mean of one loss.
"""

import copy
from dataclasses import replace

import torch
from sklearn.utils import check_random_state

from ..numerics.warn import warn_caller
from .calibration import calibrate_null_space
from .guard import blend
from .objective import objective_of
from .optimize import History
from .prior import refitted_prior
from .stages import (
    in_user_units,
    new_generator,
    new_network,
    run,
    start,
    train,
)
from .trained import Continuation, rebuilt
from .trial import judge, share_of_linear

__all__ = ["fit", "partial_fit", "resized"]

_TRIAL_SAMPLE = 20_000  # pairs of a sample that a trial is made with


# ------------------------------------------------------------------------------------- training


def fit(specification, pairs, *, chunks=None, previous=None, report=None):
    """Train a network on pairs.

    Parameters
    ----------
    specification : TrainingSpecification
        What is to be trained and how.
    pairs : Pairs
        Distinct pairs.
    chunks : PairChunks, default=None
        All pairs, where those are a sample of them.
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
    problem, pairs = specification.problem_of(pairs, rng)
    if specification.is_natural:
        pairs = pairs.rows(problem.order(pairs.Y))
    if previous is not None:
        problem = replace(problem, coordinates=previous.problem.coordinates)
        return train(
            specification, problem, pairs, rng, chunks=chunks, previous=previous, report=report
        )
    share, prior, few = 0.0, None, pairs
    if chunks is not None:
        few = pairs.rows(slice(None, None, -(-len(pairs.X) // _TRIAL_SAMPLE)))
    if specification.has_trial(problem, len(few.X)):
        verdict = judge(specification, problem, few, rng)
        if verdict.interrupted:
            return verdict.trained
        share, prior = verdict.share, verdict.prior
    if share == 1:
        return _linear(specification, problem, pairs, rng)
    if specification.solver_for(problem, few.X) == "adam":
        share = 0.0  # a short trial has not learned enough to judge more than the linear estimator
    if prior is not None:
        prior = refitted_prior(prior, problem, pairs)
    trained = train(specification, problem, pairs, rng, chunks=chunks, prior=prior, report=report)
    if specification.is_guarded(problem):
        _guard(specification, trained, pairs, share, prior)
    return trained


def _guard(specification, trained, pairs, share, prior):
    """Let pairs decide how much of what was learned counts; in place."""
    if trained.network.explicit_inverse is None or trained.split[1] is not None:
        share = max(share, _share_after(specification, trained, pairs))
    blend(trained.network, share)
    if prior is None or not prior.is_mixture:
        _calibrate(specification, trained, pairs)


def _calibrate(specification, trained, pairs):
    """Let the average errors of the training signals set what no measurement can."""
    problem, network = trained.problem, trained.network
    if network.explicit_inverse is None or problem.operator is None:
        return
    drawn = objective_of(specification, trained, specification.loss, pairs, "lbfgs")
    drawn = drawn.drawn(trained.continuation.generator)
    forward = problem.unit_forward.matrix(drawn.x)
    epsilon = problem.unit_epsilon
    calibrate_null_space(network, drawn.x, drawn.z, forward, epsilon)


def _share_after(specification, trained, pairs):
    """The share of the linear estimator after a training that has not seen the pairs' noise.

    An explicit inverse has: its loss is the error itself. Only pairs set aside can judge it.
    """
    rows = trained.split[1]
    pairs = pairs if rows is None else pairs.rows(rows)
    return share_of_linear(specification, trained, pairs.X, trained.problem.targets(pairs.Y)[None])


def _linear(specification, problem, pairs, rng):
    """The linear minimum mean square error estimator as a network."""
    generator = new_generator(rng)
    problem = specification.renewed(replace(problem, bandwidth=0.0), pairs)
    network = new_network(specification, problem, pairs, torch.float64, generator)
    blend(network, 1.0)
    trained = start(specification, network, problem, generator, pairs.weight.sum())
    objective = objective_of(specification, trained, specification.loss, pairs, "lbfgs")
    with torch.no_grad():
        loss = float(objective.drawn(generator).mean_loss(network))
    trained.bandwidth = specification.bandwidth_for(problem, objective.loss)
    trained.history = in_user_units(
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
    if previous is None:
        trained, pairs = _begin(specification, pairs)
    else:
        trained, pairs = replace(previous), previous.problem.completed(pairs)
    state = trained.continuation
    trained.continuation = state = replace(state, n_seen=state.n_seen + pairs.weight.sum())
    if state.optimizer is None:
        parameters = trained.network.parameters()
        state.optimizer = torch.optim.Adam(parameters, lr=specification.first_step)
    objective = objective_of(specification, trained, specification.loss, pairs, "adam")
    trained.bandwidth = specification.bandwidth_for(trained.problem, objective.loss)
    whole, no_report = (None, None), None
    history = run(specification, trained, objective, "adam", 1, whole, no_report, state.optimizer)
    new = in_user_units(history, objective.loss, trained.problem.coordinates)
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
    network, state = rebuilt(network, config, problem), trained.continuation
    state = Continuation(copy.deepcopy(state.generator), None, state.n_seen)
    return replace(trained, network=network, problem=problem, continuation=state)


def _begin(specification, pairs):
    """A problem and an untrained network, before the first pass, and the pairs to begin with."""
    rng = check_random_state(specification.random_state)
    problem, pairs = specification.problem_of(pairs, rng)
    generator = new_generator(rng)
    network = new_network(specification, problem, pairs, torch.float32, generator)
    return start(specification, network, problem, generator, 0), pairs
