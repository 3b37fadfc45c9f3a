"""Training as a function: from a specification and pairs to a trained network.

The problem is read off the pairs, a network is made for it, and it is trained in stages, each of
which minimises the mean of one loss.
"""

from dataclasses import replace
from functools import partial

import torch
from sklearn.utils import check_random_state

from ..numerics.devices import check_device
from ..numerics.warn import warn_caller
from .calibration import calibrate
from .chunked_moments import moments_of
from .guard import blend
from .held_out_errors import error_quantiles, linear_error_quantiles, warn_of_small_deviations
from .linear_rival import warn_if_worse
from .objective import objective_of
from .optimize import History
from .prior import refitted_prior
from .prior_weight import weigh_prior
from .set_aside import ALL
from .stages import in_user_units, new_generator, new_network, start, train
from .trained import copied, rebuilt
from .trial import FEWEST_PAIRS, TOO_FEW, UNTRIED, judge, share_of_linear

__all__ = ["fit", "resized"]

_TRIAL_SAMPLE = 20_000  # pairs of a sample that a trial is made with
_JUDGING_ENTRIES, _FEWEST_JUDGES = 2**15, 500  # of signals, and signals, that judge a training


def fit(specification, pairs, *, chunks=None, previous=None, set_aside=ALL, report=None):
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
        Start from the network and the coordinates of this one, skip the first stage, and continue
        its history. It is trained on.
    set_aside : SetAside, default=ALL
        What is known about the pairs that are to judge the training.
    report : callable, default=None
        Called after every iteration with a function that makes a copy of what training would give
        if it stopped now, a Trained; training stops where it returns True.

    Returns
    -------
    trained : Trained
        The network, in double precision, and all that belongs to it.
    """
    if previous is None:  # otherwise training goes on where the network is
        check_device(specification.device)
    rng = check_random_state(specification.random_state)
    problem, pairs = specification.problem_of(pairs, rng)
    moments = None if chunks is None else moments_of(chunks, problem)
    if moments is not None:
        problem = specification.renewed(problem.with_moments(moments), pairs, moments)
    if specification.is_natural:
        order = problem.order(pairs.Y)
        pairs, set_aside = pairs.rows(order), set_aside.ordered(order)
    weigh = partial(_weighed, specification, pairs=pairs)
    report = report and partial(_report_weighed, report, weigh)
    known = {"chunks": chunks, "set_aside": set_aside, "report": report}
    if previous is not None:
        specification, problem = specification.continuing(previous, problem)
        return weigh(train(specification, problem, pairs, rng, previous=previous, **known))
    few, verdict = pairs if chunks is None else pairs.sample(_TRIAL_SAMPLE), UNTRIED
    if specification.has_trial(problem):
        enough = len(set_aside.signals(few).X) >= FEWEST_PAIRS
        verdict = judge(specification, problem, few, set_aside, rng) if enough else TOO_FEW
    if verdict.interrupted:
        return verdict.trained
    if verdict.share == 1:
        _tell_linear(verdict, few, set_aside)
        return _linear(specification, problem, pairs, rng, moments, set_aside.groups)
    specification, problem = verdict.specified(specification, problem, pairs, moments)
    share, prior, is_short = verdict.share, verdict.prior, verdict.is_doubtful
    if prior is not None and specification.solver_for(problem, few.X) == "adam":
        share = 0.0  # nobody learns draws by heart, and a trial has not learned enough of them
    if prior is not None:
        prior = refitted_prior(prior, problem, set_aside.signals(pairs))
    trained = train(specification, problem, pairs, rng, prior=prior, silent=is_short, **known)
    _guard(specification, trained, few, share, prior)
    _take_quantiles(trained, error_quantiles(verdict.held_out, trained), pairs)
    return _compared(specification, weigh(trained), few, verdict)


def _take_quantiles(trained, quantiles, pairs):
    """Give the problem quantiles of errors, in place; where those are large, that is told."""
    warn_of_small_deviations(quantiles, pairs)
    trained.problem = replace(trained.problem, error_quantiles=quantiles)


def _weighed(specification, trained, pairs):
    """The same, with as much of the learned prior as pairs say, where they may; in place."""
    if specification.weighs_prior(trained.problem):
        weigh_prior(trained, pairs)
    return trained


def _report_weighed(report, weigh, stopped):
    """The report of what training gives if it stops now, with this weight of the prior."""
    return report(lambda: weigh(stopped()))


def _compared(specification, trained, pairs, verdict):
    """The same; where no trial has judged it, a warning tells if the linear estimator is better."""
    if verdict is UNTRIED and specification.has_linear_rival(trained.problem):
        warn_if_worse(trained, pairs)
    return trained


def _guard(specification, trained, pairs, share, prior):
    """Let pairs decide how much of what was learned counts, where they may; in place."""
    if not specification.is_guarded(trained.problem):
        return
    if trained.network.explicit_inverse is None or trained.judges is not None:
        share = max(share, _share_after(specification, trained, pairs))
    blend(trained.network, share)
    calibrate(specification, trained, pairs, prior)


def _share_after(specification, trained, pairs):
    """The share of the linear estimator after a training that has not seen the pairs' noise.

    An explicit inverse has: its loss is the error itself. Only pairs set aside can judge it.
    """
    pairs = pairs if trained.judges is None else trained.judges
    most = max(_JUDGING_ENTRIES // pairs.X.shape[1], _FEWEST_JUDGES)
    pairs = pairs.sample(most)
    return share_of_linear(specification, trained, pairs.X, trained.problem.targets(pairs.Y)[None])


def _tell_linear(verdict, pairs, set_aside):
    """Warn that the linear estimator is returned, for lack of a gain or of pairs that tell one."""
    reason = (
        "On pairs that were held out, the network did not reconstruct better than the linear "
        "minimum mean square error (LMMSE) estimator, so fit returns that estimator. For Gaussian "
        "signals there is none better; otherwise more pairs help, or more iterations."
    )
    if verdict is TOO_FEW:
        counted = "pairs" if set_aside.groups is None else "distinct signals"
        reason = (
            f"{len(set_aside.signals(pairs).X)} {counted} are too few to tell whether a network "
            "reconstructs better than the linear minimum mean square error (LMMSE) estimator, so "
            "fit returns that estimator. "
            f"Give {FEWEST_PAIRS} or more, and many more of many features."
        )
    warn_caller(reason)


def _linear(specification, problem, pairs, rng, moments, groups):
    """The linear minimum mean square error estimator as a network."""
    generator, problem = new_generator(rng), replace(problem, bandwidth=0.0)
    quantiles = linear_error_quantiles(specification, problem, pairs, groups)
    problem = specification.renewed(problem, pairs, moments)
    network = new_network(specification, problem, pairs, torch.float64, generator)
    blend(network, 1.0)
    trained = start(specification, network, problem, generator, pairs.weight.sum())
    _take_quantiles(trained, quantiles, pairs)
    objective = objective_of(specification, trained, specification.loss, pairs, "lbfgs")
    with torch.no_grad():
        loss = float(objective.drawn(generator).mean_loss(network))
    trained.bandwidth = specification.bandwidth_for(problem, objective.loss)
    trained.history = in_user_units(
        History([loss], best_loss=loss), objective.loss, problem.coordinates
    )
    return trained


def resized(specification, trained, *, keeps_prior=False, noise_follows=False):
    """The same filters for an operator and images of another size; nothing is trained.

    Parameters
    ----------
    specification : TrainingSpecification
        With the operator and the image shape that are wanted.
    trained : Trained
        What was trained on images of some size.
    keeps_prior : bool, default=False
        Whether φ − G stays as it was trained whatever the least eigenvalue of G, which otherwise
        decides how much is added to make φ monotone. The bounds of φ are then those of a G with the
        least eigenvalue of the training's.
    noise_follows : bool, default=False
        Whether the noise of the measurements is given afterwards.

    Returns
    -------
    trained : Trained
        With a network and a problem of the new size.
    """
    architecture, network = specification.architecture, trained.network
    options = specification.branch.options_at(architecture, network.config["block_options"])
    operator, n_features = specification.operator, architecture.n_features
    problem = trained.problem.resized(operator, n_features, noise_follows=noise_follows)
    config = specification.network_config(problem, options)
    if keeps_prior and network.knows_forward:
        (lowest, _), (_, highest) = network.config["known_bounds"], config["known_bounds"]
        config["known_bounds"] = lowest, highest
    network, state = rebuilt(network, config, problem), trained.continuation
    state = replace(state, generator=copied(state.generator), optimizer=None)
    return replace(trained, network=network, problem=problem, continuation=state)
