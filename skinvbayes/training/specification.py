"""What is to be trained; for given pairs it turns every "auto" into a value."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..losses import Loss
from ..networks.architecture import Architecture
from ..networks.block import ResidualBlock
from ..networks.iresnet import name_of
from ..numerics.chunks import MATRIX_FEATURES
from ..problem.inverse_problem import InverseProblem, Policy, check_pairs
from ..problem.nonlinear_measurement import measurement_from_pairs

__all__ = ["Pairs", "TrainingSpecification"]

_LBFGS_ENTRIES = 2**18  # "auto" takes full batches up to so many numbers in X ...
_LBFGS_FEATURES = 32  # ... of so few features, and Adam beyond
_TEMPERED = 0.1  # relative difference of ε from δ² up to which it is the Bayesian choice
_TRIAL_ITERATIONS = 10  # the fewest


class Pairs(NamedTuple):
    """Distinct pairs: signals X, measurements Y, and how often each counts."""

    X: np.ndarray
    Y: np.ndarray
    weight: np.ndarray

    def rows(self, rows):
        """Some of the pairs."""
        return Pairs(*(values[rows] for values in self))

    def sample(self, most):
        """Every k-th pair, so many at most: pairs may be sorted."""
        return self.rows(slice(None, None, -(-len(self.X) // most)))


@dataclass(frozen=True)
class TrainingSpecification:
    """What is to be trained and how.

    Attributes that are not listed are the parameters of the estimators of the same names.

    Attributes
    ----------
    title : str
        Name of the estimator, for the progress bar.
    loss : type of Loss
        The loss of the last stage.
    epsilon : "auto" or float
        Weight of the penalty in the user's units; "auto" is the variance of the noise.
    branch : type of ResidualBlock
        Class of the residual blocks.
    architecture : Architecture
        Size and settings of the network.
    """

    title: str
    loss: type[Loss]
    epsilon: object
    branch: type[ResidualBlock]
    architecture: Architecture
    operator: object
    noise_level: object
    noise_covariance: object
    prior_bandwidth: object
    solver: str
    max_iter: int
    tol: float
    batch_size: object
    learning_rate_init: object
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    device: object
    random_state: object
    verbose: object

    def problem_of(self, pairs, rng, *, weighed=True):
        """The inverse problem that the pairs pose, and the pairs without outliers.

        With the bandwidth for a prior that is weighed afterwards, if it is.
        """
        check_pairs(*pairs[:2], self.operator)
        X, Y, weight = pairs
        measurement, Y = measurement_from_pairs(
            self.operator, self.noise_level, self.noise_covariance, X, Y, weight
        )
        if self._needs_noise and measurement.is_clean(X, Y):
            raise ValueError(
                "noise_level cannot be told from these pairs: the signals explain the measurements "
                "y without any noise. Give the noise_level of the measurements to be reconstructed "
                "(fit(X) with operator and noise_level draws them), or epsilon."
            )
        pairs = Pairs(X, Y, weight)
        branch = self.branch
        rule = branch.bandwidth_rule
        if weighed and self._tells_weight:
            rule = branch.weighed_bandwidth_rule
        if self.loss.inverts:
            rule = branch.first_stage_bandwidth_rule or rule
        policy = Policy(
            bandwidth_rule=rule,
            smoothing=branch.reconstruction_smoothing if self.explicit_inverse else 1.0,
            common_mean=branch.common_mean,
            natural=self.is_natural,
            reconstructs=self.loss.inverts,
            max_condition=self.architecture.max_condition,
        )
        problem = InverseProblem.from_pairs(
            *pairs,
            measurement=measurement,
            epsilon=self.epsilon,
            bandwidth=self.prior_bandwidth,
            policy=policy,
            random_state=rng,
        )
        return problem, pairs

    @property
    def _needs_noise(self):
        """Whether the weight of the penalty is to be told from the noise of the pairs."""
        told = isinstance(self.noise_level, str) and self.noise_covariance is None
        return told and self.epsilon == "auto" and self.loss.regularizes and not self.loss.inverts

    @property
    def is_natural(self):
        """Whether the network works in natural coordinates: wherever matrices serve."""
        most = min(self.branch.most_features_of_matrices, MATRIX_FEATURES)
        return not self.branch.common_mean and self.architecture.n_features <= most

    @property
    def explicit_inverse(self):
        """Whether the network is given by its inverse."""
        return self.loss.inverts and self.branch.can_be_inverse and self.is_natural

    def is_guarded(self, problem):
        """Whether pairs decide how much of the training counts: for the Bayesian epsilon."""
        bayesian = self._is_bayesian(problem)
        one = self.architecture.n_blocks == 1 and self.branch.can_be_inverse
        asked = self.loss.regularizes and np.isfinite(self.loss.worthwhile_gain)
        return asked and bayesian and one and self.is_natural

    def has_linear_rival(self, problem):
        """Whether a training without a trial should be no worse than the linear estimator."""
        known = problem.operator is not None and problem.noise_level > 0
        long = self.max_iter >= _TRIAL_ITERATIONS
        return known and long and self.loss.regularizes and self._is_bayesian(problem)

    def _is_bayesian(self, problem):
        variance = problem.noise_level**2
        return abs(self.epsilon_for(problem) - variance) <= _TEMPERED * variance

    def has_trial(self, problem):
        """Whether a trial decides so beforehand: where there is time enough for it."""
        long = self.max_iter >= _TRIAL_ITERATIONS
        return self.is_guarded(problem) and long and not self.early_stopping

    def tries_scales_alone(self, problem):
        """Whether a trial is made without units for clusters: where they may be in the way."""
        sizes = self.architecture.hidden_layer_sizes, self.architecture.n_pieces
        in_the_way = self.architecture.has_many_features or problem.bandwidth > 0
        return self.explicit_inverse and sizes == (None, None) and in_the_way

    def without_clusters(self, problem, pairs, moments=None):
        """The same with units for scales alone, and a problem whose prior is not smoothed."""
        if self._has_automatic_bandwidth:
            problem = self.renewed(replace(problem, bandwidth=0.0), pairs, moments)
        return self._with_scales_alone, problem

    def renewed(self, problem, pairs, moments=None):
        """The same problem in the coordinates of other pairs, or of all of which these are some."""
        options = {"reconstructs": self.loss.inverts, "moments": moments}
        return problem.renewed(*pairs, epsilon=self.epsilon, **options)

    def epsilon_for(self, problem):
        """The weight of the penalty, a number."""
        return problem.noise_level**2 if self.epsilon == "auto" else float(self.epsilon)

    def weighs_prior(self, problem):
        """Whether pairs tell how much of the learned prior counts."""
        return self._tells_weight and self.knows_forward(problem) and problem.noise_level > 0

    def bandwidth_for(self, problem, loss):
        """The bandwidth for a loss: "auto" smooths less for a reconstruction than for a score."""
        automatic = self._has_automatic_bandwidth and not self.explicit_inverse
        share = self.branch.reconstruction_smoothing if automatic and loss.expects_noise else 1
        return share * problem.bandwidth

    def fresh_noise(self, problem, loss):
        """What turns white noise into noise of w, as a matrix; None to take that of the pairs."""
        fresh = self.explicit_inverse and loss.expects_noise and problem.noise_is_white
        return problem.unit_noise if fresh else None

    def smooths(self, problem):
        """Whether draws of a smoothed prior may take the place of the pairs.

        That is where a loss asks for no more of them than fresh noise, or than G and the score.
        """
        if not self._has_automatic_bandwidth:
            return False
        if self.explicit_inverse:
            return self.fresh_noise(problem, self.loss) is not None
        linear = problem.operator is not None or problem.noise_is_white
        return linear and self.loss().integrated() is not None

    def bandwidth_beside(self, prior, problem):
        """What more smooths a prior for the sake of its score: nothing if a mixture has one."""
        if self.explicit_inverse or (prior.is_mixture and self._can_learn(prior, problem)):
            return 0.0
        return problem.bandwidth

    def can_draw_from(self, prior, problem):
        """Whether a network may learn the score of a prior, if it is to learn that."""
        bandwidth = self.bandwidth_beside(prior, problem)
        jitter = problem.coordinates.unit_jitter(bandwidth)
        return self.explicit_inverse or self._can_learn(prior.widened(jitter), problem)

    def _can_learn(self, prior, problem):
        """Whether no slope of the target is steeper than a block that starts at one may be."""
        least = np.linalg.eigvalsh(prior.covariances).min()
        return problem.unit_epsilon <= self.architecture.max_condition * least

    def with_draws(self):
        """The same for draws of a prior, which no number of units learns by heart."""
        if self.explicit_inverse:
            return self
        return replace(self, architecture=replace(self.architecture, draws_signals=True))

    def solver_for(self, problem, X, chunked=False):
        """The solver, "lbfgs" or "adam"; chunks are best added up, a step for each pass."""
        if self.solver != "auto":
            return self.solver
        if self.explicit_inverse or self.architecture.draws_signals:
            return "adam"
        if chunked:
            return "lbfgs"
        small = X.size <= _LBFGS_ENTRIES and X.shape[1] <= _LBFGS_FEATURES
        # full batches draw the jitter once, which is enough where the signals fill their space
        jitter_matters = problem.bandwidth > 0 and len(X) < 10 * X.shape[1] ** 2
        return "lbfgs" if small and not jitter_matters else "adam"

    def stages(self, solver, continued):
        """The classes of the losses to train with, one after the other, and their iterations."""
        first = self.loss.first_stage
        if first is None or continued or self.explicit_inverse or self.max_iter == 1:
            return [(self.loss, self.max_iter)]
        n_first = max(1, int(self.branch.first_stage_share(solver) * self.max_iter))
        return [(first, n_first), (self.loss, self.max_iter - n_first)]

    def continuing(self, previous, problem):
        """The specification and the problem with which a training goes on after a previous one."""
        before = previous.problem
        problem = replace(
            problem, coordinates=before.coordinates, error_quantiles=before.error_quantiles
        )
        config, drawn, alone = previous.network.config, self.with_draws(), self._with_scales_alone
        if config == self.network_config(problem):
            return self, problem
        if config == drawn.network_config(problem):
            return drawn, problem
        if not self.explicit_inverse or config != alone.network_config(problem):
            return self, problem
        return alone, replace(problem, bandwidth=0.0) if self._has_automatic_bandwidth else problem

    def network_config(self, problem, options=None):
        """The parameters of the network for a problem, but for the known part itself."""
        architecture, branch = self._architecture, self.branch
        if self.loss.needs_log_determinant:
            branch.check_log_determinant()
        sizes = architecture.hidden_layer_sizes
        options = branch.options(architecture) if options is None else options
        return {
            "n_features": architecture.n_features,
            "known_bounds": problem.unit_bounds if self.knows_forward(problem) else None,
            "residual": name_of(branch),
            "n_blocks": architecture.n_blocks,
            "hidden_layer_sizes": sizes or branch.default_hidden_layer_sizes(architecture),
            "lipschitz": architecture.lipschitz,
            "block_options": options,
        } | ({"explicit_inverse": True} if self.explicit_inverse else {})

    def knows_forward(self, problem):
        """Whether G is a fixed part of the network, which learns the rest of φ alone."""
        large = self.architecture.n_features > self.branch.most_features_of_matrices
        return problem.operator is not None and self.architecture.n_blocks == 1 and large

    @property
    def n_batch(self):
        """Pairs in each step of Adam."""
        if self.batch_size != "auto":
            return self.batch_size
        return self.branch.default_batch_size(self._architecture)

    @property
    def first_step(self):
        """First step size of Adam."""
        if self.learning_rate_init != "auto":
            return self.learning_rate_init
        return self.branch.default_learning_rate(self._architecture)

    @property
    def _tells_weight(self):
        told = self.branch.weighed_bandwidth_rule is not None and self.loss.learns_prior
        return told and self.epsilon == "auto"

    @property
    def _has_automatic_bandwidth(self):
        return isinstance(self.prior_bandwidth, str)

    @property
    def _with_scales_alone(self):
        return replace(self, architecture=replace(self.architecture, has_clusters=False))

    @property
    def _architecture(self):
        """What the branch is asked for."""
        return replace(self.architecture, explicit_inverse=self.explicit_inverse)
