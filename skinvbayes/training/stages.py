"""Training in stages, each of which minimises the mean of one loss."""

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from ..networks.explicit_inverse import build_network
from ..numerics.warn import warn_caller
from ..problem.clusters import ClusterPosterior
from ..problem.coordinates import rounded_rows
from ..problem.gaussian import unit_optimum
from .chunked_objective import ChunkedObjective
from .objective import PRECISION, drawn_from, learns_rest, objective_of, tensor
from .optimize import History, minimize
from .progress import progress_bar
from .trained import Continuation, Trained, rebuilt

__all__ = [
    "in_user_units",
    "new_generator",
    "new_network",
    "run",
    "start",
    "train",
]


def train(
    specification,
    problem,
    pairs,
    rng,
    *,
    chunks=None,
    previous=None,
    prior=None,
    report=None,
    trial=False,
):
    """Train in stages: on the pairs, on chunks of more pairs, or on draws of a smoothed prior."""
    chunks = None if prior is not None else chunks
    generator = new_generator(rng)
    solver = specification.solver_for(problem, pairs.X, chunked=chunks is not None)
    if previous is None:
        network = new_network(specification, problem, pairs, PRECISION[solver], generator)
    else:
        network = _same_network(specification, problem, previous.network)
    n_seen = pairs.weight.sum() if chunks is None else chunks.totals.weight
    trained = start(specification, network, problem, generator, n_seen)
    split = _split(specification, len(pairs.X if chunks is None else chunks), rng)
    if chunks is None:
        trained.split = split
    for loss_class, n_iter in specification.stages(solver, continued=previous is not None):
        if chunks is None:
            objective = objective_of(specification, trained, loss_class, pairs, solver)
        else:
            settings = specification, trained, loss_class, solver
            objective = ChunkedObjective.of(chunks, *settings, sample=pairs)
        trained.bandwidth = specification.bandwidth_for(problem, objective.loss)
        if prior is not None:
            objective, trained.bandwidth = drawn_from(objective, prior), 0.0
        history = run(specification, trained, objective, solver, n_iter, split, report)
        trained.history = trained.history.followed_by(
            in_user_units(history, objective.loss, problem.coordinates)
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
        continuation=Continuation(generator, None, n_seen),
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
        slope = torch.eye(u.shape[1]).to(u)  # where losses regularise, the optimum for Gaussians
    else:
        condition = specification.architecture.max_condition
        slope = unit_optimum(problem, deviations, whole=not knows_forward, max_condition=condition)
    network.initialize(mean, deviations, slope)
    if specification.explicit_inverse:
        _start_from_clusters(network.explicit_inverse.blocks[0], problem, u, pairs.weight)
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
    return rebuilt(network, config, problem) if network.knows_forward else network


def _split(specification, n_samples, rng):
    """The rows to train on and those to validate with; (None, None) for all rows and none."""
    if not specification.early_stopping:
        return None, None
    fraction = specification.validation_fraction
    return train_test_split(np.arange(n_samples), test_size=fraction, random_state=rng)


def run(specification, trained, objective, solver, max_iter, split, report, optimizer=None):
    """Minimise one objective, with progress bar, callbacks and, after a split, early stopping."""
    training_rows, validation_rows = split
    trained.network.to(PRECISION[solver])
    rest = learns_rest(trained.network, objective.loss)
    title = f"{specification.title}: {type(objective.loss).__name__}"
    with progress_bar(title, max_iter, specification.verbose) as progress:

        def callback(history):
            progress(in_user_units(history, objective.loss, trained.problem.coordinates))
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


def in_user_units(history, loss, coordinates):
    """The same history with losses in the user's units."""

    def convert(values):
        return [float(loss.in_user_units(value, coordinates)) for value in values]

    (best_loss,) = convert([history.best_loss])
    curves = convert(history.loss_curve), convert(history.validation_loss_curve)
    return History(*curves, best_loss, history.interrupted)
