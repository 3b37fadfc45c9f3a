"""A trial before training: is anything better than the linear estimator, and what is best?

Short trainings on most of the pairs, from which the others choose: the linear estimator, a network
that learned from draws of a smoothed prior, or one that learned from the pairs themselves, with or
without units for clusters of signals.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..problem.shrinkage import are_few
from ..problem.smoothed_prior import SmoothedPrior
from .calibration import calibrate
from .guard import (
    best_share,
    blended,
    linear_errors,
    prior_errors,
    reconstruction_errors,
    surely_positive,
)
from .held_out_errors import HeldOutErrors, held_out_errors
from .prior import chosen_prior
from .stages import train
from .trained import Trained

__all__ = ["FEWEST_PAIRS", "TOO_FEW", "UNTRIED", "Verdict", "judge", "share_of_linear"]

_HELD_OUT, _MOST_HELD_OUT = 0.15, 2000  # share and number of the pairs that a trial sets aside
_TRIAL = 1 / 3  # share of the iterations
_NEARLY = 1.03  # times the error that a prior allows
FEWEST_PAIRS = 8  # of a trial; of fewer pairs the linear estimator is all that can be told
_FEW_PAIRS = 1000  # fewer than that are few
_MOST_TRIALS = 3  # with other held-out pairs each, where chance may have decided
_FEW_HELD_OUT, _SURE_OF_FEW = 100, 3  # pairs, of which a gain must have more standard errors


class Verdict(NamedTuple):
    """What held-out pairs say about a short training on the others."""

    errors: np.ndarray | None  # of the held-out signals; None for none
    trained: Trained | None = None  # None for the linear estimator
    share: float = 1.0  # of the linear estimator
    prior: SmoothedPrior | None = None  # what was drawn from; None for the pairs
    gain: np.ndarray | None = None  # of the pairs over what else was tried
    has_clusters: bool = True  # whether the network has units for them
    held_out: tuple[HeldOutErrors, ...] = ()  # of every trial; none where they count as Gaussian

    @property
    def interrupted(self):
        """Whether the training was."""
        return self.trained is not None and self.trained.history.interrupted

    @property
    def is_doubtful(self):
        """Whether longer training may well be worse, and nothing would tell."""
        return self._is_unguarded and (self.share > 0 or not surely_positive(self.gain))

    @property
    def is_chance(self):
        """Whether the pairs may have won by chance, and nothing would tell."""
        if self.share == 1 or self.gain.mean() <= 0:
            return False
        if len(self.errors) < _FEW_HELD_OUT:
            return not surely_positive(self.gain, _SURE_OF_FEW)
        return self._is_unguarded and not surely_positive(self.gain)

    def specified(self, specification, problem, pairs, moments):
        """The specification and the problem of the training that the trial asks for."""
        if not self.has_clusters:
            specification, problem = specification.without_clusters(problem, pairs, moments)
        if self.prior is not None:
            specification = specification.with_draws()
        return _shortened(specification) if self.is_doubtful else specification, problem

    @property
    def _is_unguarded(self):
        return self.gain is not None and self.trained.network.explicit_inverse is not None


UNTRIED = Verdict(None, share=0.0)
TOO_FEW = Verdict(None)


def judge(specification, problem, pairs, set_aside, rng):
    """Try the linear estimator, scale units alone, a smoothed prior and the pairs themselves.

    Parameters
    ----------
    specification : TrainingSpecification
        What is to be trained.
    problem : InverseProblem
        The problem.
    pairs : Pairs
        The pairs.
    set_aside : SetAside
        Which of them belong together.
    rng : RandomState
        Source of all that is drawn.

    Returns
    -------
    verdict : Verdict
        On the best of them; scale units alone and a smoothed prior have to be better than what was
        tried before by a standard error, and the pairs than them. Where nothing surely is, draws
        for an explicit inverse may still be the best of all. Where chance may have decided, as
        between few held-out pairs, more trials do. An interrupted training is returned at once.
    """
    arguments = specification, problem, pairs, set_aside, rng
    trial = _Trial.of(*arguments)
    best = Verdict(trial.linear_errors)
    if specification.tries_scales_alone(trial.problem):
        scales = trial.without_clusters(whole=trial.is_small).verdict(None)
        scales = scales._replace(gain=best.errors - scales.errors)
        if trial.is_small:
            scales = _after_more_trials(scales, arguments, _Trial.without_clusters)
        if scales.interrupted:
            return scales
        best = scales if scales.share < 1 and surely_positive(scales.gain) else best
    smooths, smoothed = specification.smooths(trial.problem), None
    prior = chosen_prior(trial.problem, trial.signals, rng) if smooths else None
    if prior is not None and specification.can_draw_from(prior, trial.problem):
        possible = prior_errors(prior, trial.problem, trial.X, trial.targets)
        possible = _of_groups(possible, trial.groups).mean()
        if possible < best.errors.mean():
            smoothed = trial.with_draws().verdict(prior)
            if smoothed.interrupted:
                return smoothed
            best = smoothed if surely_positive(best.errors - smoothed.errors) else best
        if trial.is_settled(best, possible):
            return best
    if smooths and not (best.has_clusters or trial.is_small):
        return best
    raw = trial.verdict(None)
    raw = raw._replace(gain=best.errors - raw.errors)
    if best.trained is not None:
        return raw if raw.interrupted or trial.prefers_pairs(raw.gain) else best
    if specification.explicit_inverse and smoothed is not None:
        if smoothed.errors.mean() < best.errors.mean():
            best = smoothed  # nobody learns draws by heart
        if best is smoothed and smoothed.errors.mean() < raw.errors.mean():
            return raw if raw.interrupted else smoothed
    raw = _after_more_trials(raw, arguments)
    return raw if raw.interrupted or raw.gain.mean() > 0 else best


def _after_more_trials(found, arguments, variant=lambda trial: trial):
    """A gain over the linear estimator, with other held-out pairs too where it may be chance.

    These trials are short, as training is after such a gain.
    """
    for n in range(1, _MOST_TRIALS):
        if found.interrupted or not found.is_chance:
            break
        trial = variant(_Trial.of(*arguments))
        other = trial.verdict(None)
        if other.interrupted:
            return other
        gain = np.concatenate([found.gain, trial.linear_errors - other.errors])
        held_out = found.held_out + other.held_out
        share = (n * found.share + other.share) / (n + 1)
        found = found._replace(gain=gain, share=share, held_out=held_out)
    return found


class _Trial(NamedTuple):
    """What short trainings on some of the pairs are judged with: the others."""

    specification: object
    problem: object
    few: object
    signals: object  # of these pairs, each once
    rng: np.random.RandomState
    X: np.ndarray
    targets: np.ndarray
    groups: np.ndarray | None  # of the others: errors of a group count as one
    linear_errors: np.ndarray
    max_iter: int  # of the whole training

    @property
    def is_small(self):
        """Whether a network may learn the signals by heart."""
        return len(self.signals.X) < _FEW_PAIRS

    @classmethod
    def of(cls, specification, problem, pairs, set_aside, rng):
        """A trial with pairs held out at random."""
        kept, held, targets = _held_out(specification, problem, pairs, set_aside, rng)
        few, X, groups = pairs.rows(kept), pairs.X[held], set_aside.groups
        groups = None if groups is None else groups[held]
        plain = replace(problem, bandwidth=0.0)  # the linear estimator of the prior itself
        linear = _of_groups(linear_errors(specification.renewed(plain, few), X, targets), groups)
        problem = specification.renewed(problem, few)
        short = replace(_shortened(specification), title=f"{specification.title}, trial")
        known = problem, few, set_aside.signals(pairs, kept), rng, X, targets, groups, linear
        return cls(short, *known, specification.max_iter)

    def is_settled(self, best, possible):
        """Whether a prior has done what it can; few signals may have tails that it has not."""
        trusted = self.specification.explicit_inverse or not self.is_small
        return trusted and best.prior is not None and best.errors.mean() <= _NEARLY * possible

    def prefers_pairs(self, gain):
        """Whether pairs are better than draws: surely, or where few signals have unknown tails."""
        doubtful = self.is_small and not self.specification.explicit_inverse
        return surely_positive(gain) or (doubtful and gain.mean() > 0)

    def without_clusters(self, whole=False):
        """The same trial of a network with units for scales alone; or a whole training.

        Many small units learn a few signals by heart, but not in a third of a training.
        """
        specification, problem = self.specification.without_clusters(self.problem, self.few)
        if whole:
            specification = replace(specification, max_iter=self.max_iter)
        return self._replace(specification=specification, problem=problem)

    def with_draws(self):
        """The same trial of a network for draws of a prior."""
        return self._replace(specification=self.specification.with_draws())

    def verdict(self, prior):
        """On a training with draws of a prior, or on the pairs themselves; with the best share.

        An explicit inverse needs none after draws: it has learned the posterior mean itself.
        """
        problem, X, targets = self.problem, self.X, self.targets
        trained = train(self.specification, problem, self.few, self.rng, prior=prior, silent=True)
        share = 0.0
        if prior is None or trained.network.explicit_inverse is None:
            share = share_of_linear(self.specification, trained, X, targets)
        (errors,) = reconstruction_errors(trained.network, problem, X, targets, [share])
        errors = _of_groups(errors, self.groups)
        held_out = ()
        explicit = trained.network.explicit_inverse is not None
        if not explicit or problem.bandwidth == 0 or are_few(self.signals.X):
            whole = replace(trained, network=blended(trained.network, share))
            calibrate(self.specification, whole, self.few, prior)
            bandwidth = problem.bandwidth if trained.bandwidth > 0 else 0.0
            held_out = (held_out_errors(whole.network, problem, bandwidth, X, targets),)
        clusters = self.specification.architecture.has_clusters
        found = {"has_clusters": clusters, "held_out": held_out}
        return Verdict(errors, trained, share, prior, **found)


def _shortened(specification):
    """The specification of a training that is as long as a trial."""
    return replace(specification, max_iter=math.ceil(specification.max_iter * _TRIAL))


def _held_out(specification, problem, pairs, set_aside, rng):
    """The rows to train on, those to judge with, and targets of the latter."""
    n = len(pairs.X)
    n_held = min(max(int(_HELD_OUT * n), min(20, n // 2)), _MOST_HELD_OUT)
    kept, held = set_aside.split(n, n_held, rng)
    held = held[:: -(-len(held) // _MOST_HELD_OUT)]  # of groups there may be more
    if specification.fresh_noise(problem, specification.loss) is None:
        return kept, held, problem.targets(pairs.Y[held])[None]
    copies = max(2, _MOST_HELD_OUT // len(held))
    return kept, held, problem.noisy_targets(problem.clean_targets(pairs.X[held]), copies, rng)


def _of_groups(errors, groups):
    """The mean errors of groups; errors as they are where there are none."""
    if groups is None:
        return errors
    group = np.unique(groups, return_inverse=True)[1]
    return np.bincount(group, errors) / np.bincount(group)


def share_of_linear(specification, trained, X, targets):
    """The share of the linear estimator that suits these signals."""
    gain = specification.loss.worthwhile_gain
    return best_share(trained.network, trained.problem, X, targets, worthwhile_gain=gain)
