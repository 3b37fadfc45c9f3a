"""Training in stages, each of which minimises the mean of one loss."""

from dataclasses import replace

import torch
from sklearn.exceptions import ConvergenceWarning

from ..networks.explicit_inverse import build_network
from ..numerics.tensors import as_tensor, identity_like
from ..numerics.warn import warn_caller
from ..problem.clusters import ClusterPosterior
from ..problem.coordinates import rounded_rows
from ..problem.gaussian import unit_optimum
from .chunked_objective import ChunkedObjective
from .objective import PRECISION, drawn_from, learns_rest, objective_of, tensor
from .optimize import History, minimize
from .prior_weight import reweigh
from .progress import progress_bar
from .set_aside import ALL
from .trained import Continuation, Trained, rebuilt

__all__ = [
    "in_user_units",
    "new_generator",
    "new_network",
    "run",
    "start",
    "train",
]

_JUDGED_DRAWS = 2000  # of noise, at least, that early stopping judges with


def train(
    specification,
    problem,
    pairs,
    rng,
    *,
    chunks=None,
    previous=None,
    prior=None,
    set_aside=ALL,
    report=None,
    silent=False,
):
    """Train in stages: on the pairs, on chunks of more pairs, or on draws of a smoothed prior."""
    chunks = None if prior is not None else chunks
    generator = new_generator(rng)
    solver = specification.solver_for(problem, pairs.X, chunked=chunks is not None)
    if previous is None:
        network = new_network(specification, problem, pairs, PRECISION[solver], generator)
    else:
        reweigh(previous, 1.0)  # training is for the variance of the noise
        network = _same_network(specification, problem, previous.network)
    n_seen = pairs.weight.sum() if chunks is None else chunks.totals.n_effective
    trained = start(specification, network, problem, generator, n_seen)
    if previous is not None:
        judged = previous.history.validation_loss_curve if specification.early_stopping else []
        trained.history = replace(previous.history, validation_loss_curve=judged)
    split = _split(specification, problem, trained, pairs, chunks, set_aside, rng)
    for loss_class, n_iter in specification.stages(solver, continued=previous is not None):
        if chunks is None:
            objective = objective_of(specification, trained, loss_class, pairs, solver)
        else:
            settings = specification, trained, loss_class, solver
            objective = ChunkedObjective.of(chunks, *settings, sample=pairs)
        trained.bandwidth = specification.bandwidth_for(problem, objective.loss)
        if prior is not None:
            trained.bandwidth = specification.bandwidth_beside(prior, problem)
            widened = prior.widened(problem.coordinates.unit_jitter(trained.bandwidth))
            objective = drawn_from(objective, widened, problem)
            if not objective.loss.inverts:
                trained.problem = replace(problem, clusters=widened.mixture)
        judge = _judging(specification, trained, objective, split, solver)
        part = objective.part(split[0])
        history = run(specification, trained, part, solver, n_iter, judge=judge, report=report)
        trained.history = trained.history.followed_by(
            in_user_units(history, objective.loss, problem.coordinates)
        )
        if history.interrupted:
            break
        if loss_class is specification.loss and len(history.loss_curve) == n_iter and not silent:
            _warn_if_unfinished(history, specification.max_iter)
    return trained


def _warn_if_unfinished(history, max_iter):
    if history.still_improves():
        warn_caller(
            f"The loss was still falling when training ended after max_iter={max_iter} iterations: "
            "raise max_iter.",
            ConvergenceWarning,
        )


def new_generator(rng):
    return torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))


def start(specification, network, problem, generator, n_seen):
    """A Trained before its first iteration."""
    return Trained(
        network=network,
        problem=problem,
        epsilon=specification.epsilon_for(problem),
        bandwidth=problem.bandwidth,
        history=History(),
        continuation=Continuation(generator, None, n_seen, specification.max_iter * (n_seen > 0)),
    )


def new_network(specification, problem, pairs, dtype, generator):
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
        slope = identity_like(u.shape[1], u)  # where losses regularise, the optimum for Gaussians
    else:
        condition = specification.architecture.max_condition
        slope = unit_optimum(problem, deviations, whole=not knows_forward, max_condition=condition)
    network.initialize(mean, deviations, slope)
    if specification.explicit_inverse:
        block, noise = network.explicit_inverse.blocks[0], problem.unit_epsilon
        block.start_scales(mean, (deviations.square().sum(0) + noise).sqrt())
        _start_from_clusters(block, problem, u, pairs.weight)
    return network


def _start_from_clusters(block, problem, u, weight):
    """Give a block that is the inverse the posterior mean of clusters of signals."""
    epsilon = problem.unit_epsilon
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
    block.start_from(*(as_tensor(array).to(u) for array in arrays), sharpness)


def _same_network(specification, problem, network):
    """The network at hand, refused with a ValueError if another one is asked for."""
    config = specification.network_config(problem)
    if config != network.config:
        raise ValueError(
            "warm_start=True continues with the network at hand, which was made with "
            f"{network.config}; X and the parameters now ask for {config}. Set "
            "warm_start=False, or keep them."
        )
    return rebuilt(network, config, problem) if network.knows_forward else network


def _split(specification, problem, trained, pairs, chunks, set_aside, rng):
    """The rows to train on and those to validate with, None for all rows and none of them.

    Of chunks, whole ones are set aside.
    """
    if not specification.early_stopping:
        return None, None
    if set_aside.pairs is not None:
        trained.judges = problem.completed(set_aside.pairs)
        return None, None
    if chunks is not None:
        return set_aside.split(len(chunks), specification.validation_fraction, rng)
    split = set_aside.split(len(pairs.X), specification.validation_fraction, rng)
    trained.judges = pairs.rows(split[1])
    return split


def _judging(specification, trained, objective, split, solver):
    """The objective of early stopping; None without it. Noise that is fresh is drawn once."""
    if trained.judges is None:
        return None if split[1] is None else objective.part(split[1])
    if split[1] is None:
        loss = type(objective.loss)
        known = specification, trained, loss, trained.judges, solver
        objective = objective_of(*known, as_measured=True)
    judge = replace(objective.part(split[1]), jitter=None)
    if judge.noise is None:
        return judge
    copies = max(1, _JUDGED_DRAWS // len(judge.x))
    return judge.replicated(copies).drawn(trained.continuation.generator)


def run(
    specification,
    trained,
    objective,
    solver,
    max_iter,
    *,
    judge=None,
    report=None,
    optimizer=None,
):
    """Minimise one objective, with progress bar, callbacks and, with a judge, early stopping."""
    trained.network.to(PRECISION[solver])
    rest = learns_rest(trained.network, objective.loss)
    title = f"{specification.title}: {type(objective.loss).__name__}"
    coordinates = trained.problem.coordinates

    def user_loss(value):
        return objective.loss.in_user_units(value, coordinates)

    with progress_bar(title, max_iter, specification.verbose, user_loss) as progress:

        def callback(history):
            progress(history)
            return report is not None and report(lambda: _stopped(trained, history, objective))

        try:
            return minimize(
                trained.network.rest() if rest else trained.network,
                objective,
                validation=judge,
                solver=solver,
                max_iter=max_iter,
                tol=specification.tol,
                batch_size=specification.n_batch,
                learning_rate_init=specification.first_step,
                n_iter_no_change=specification.n_iter_no_change,
                optimizer=optimizer,
                generator=trained.continuation.generator,
                callback=callback,
                n_before=len(trained.history.loss_curve),
            )
        finally:
            trained.network.to(torch.float64)


def in_user_units(history, loss, coordinates):
    """The same history with losses in the user's units."""

    def convert(values):
        return [float(loss.in_user_units(value, coordinates)) for value in values]

    (best_loss,) = convert([history.best_loss])
    curves = convert(history.loss_curve), convert(history.validation_loss_curve)
    n_iter = len(history.loss_curve)
    stages = [(type(loss).__name__, n_iter)] if n_iter else []
    return History(*curves, best_loss, interrupted=history.interrupted, stages=stages)


def _stopped(trained, history, objective):
    """A copy of what a training gives if it stops now, with this history of its stage."""
    stopped = trained.in_double_precision()
    told = in_user_units(history, objective.loss, trained.problem.coordinates)
    stopped.history = trained.history.followed_by(told)
    if history.validation_loss_curve:
        stopped.network.load_state_dict(history.best_weights)
    return stopped
