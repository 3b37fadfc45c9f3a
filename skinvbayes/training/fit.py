"""The conduct of training: which problem, which network, which losses one after the other."""

import math

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from torch.nn import functional as F

from ..losses import LOSSES, DivergenceLoss
from ..networks.architecture import Architecture
from ..networks.iresnet import IResNet, branch_of, name_of
from ..numerics.symmetric import small_gram
from ..problem.inverse_problem import InverseProblem
from .optimize import Problem, train
from .progress import progress_bar

__all__ = ["TrainingMixin"]

_LBFGS_ENTRIES = 2**18  # "auto" takes full batches up to so many numbers in X ...
_LBFGS_FEATURES = 32  # ... of so few features, and Adam beyond
_PRECISION = {"lbfgs": torch.float64, "adam": torch.float32}  # while training
_SMALLEST_SLOPE = 1e-3  # of the linear first guess, in unit scale
_DECAY_SAMPLES = 500  # added to those seen: a stronger penalty would drive all weights to zero
_TAIL_SAMPLES = 10_000  # from here on the decay falls faster: its bias, in the tails, would remain
_ROUNDING = 1e-9  # of the branch's values, which must not break the certificate


class TrainingMixin:
    """Training of an estimator from validated pairs, by its parameters.

    ``_loss`` names the loss, ``_start`` a cheaper one whose optimum is a good first guess.
    """

    _loss = None
    _start = None

    def _train(self, X, Y, weight, task):
        rng = check_random_state(self.random_state)
        warm = self.warm_start and hasattr(self, "network_")
        self._learn_problem(X, Y, weight, rng, keep_units=warm)
        solver = self._choose_solver(X)
        if warm:
            self._check_same_network()
        else:
            self._new_network(X, weight, _PRECISION[solver])
        split = self._split(len(X), rng)
        for name, max_iter in self._stages(solver, warm):
            objective = self._objective(name, X, Y, weight, weight.sum(), solver)
            history = self._run(objective, split, solver, max_iter, task)
            if history.interrupted:
                break
        self._record(history if name == self._loss else type(history)(), objective.loss)

    def _train_pass(self, X, Y, weight, first):
        if first:
            rng = check_random_state(self.random_state)
            self._learn_problem(X, Y, weight, rng)
            self._new_network(X, weight, torch.float32)
            self.loss_curve_, self._n_seen = [], 0
        if self._optimizer is None:
            parameters = self.network_.parameters()
            self._optimizer = torch.optim.Adam(parameters, lr=self.learning_rate_init)
        self._n_seen += weight.sum()
        objective = self._objective(self._loss, X, Y, weight, self._n_seen, "adam")
        curve = self.loss_curve_
        history = self._run(objective, (None, None), "adam", 1, None, self._optimizer)
        self._record(history, objective.loss)
        self.loss_curve_ = curve + self.loss_curve_
        self.best_loss_, self.n_iter_ = min(self.loss_curve_), len(self.loss_curve_)

    def _learn_problem(self, X, Y, weight, rng, keep_units=False):
        """The inverse problem, and the generator of all that is random in training."""
        old = self._problem.units if keep_units else None
        self._problem = InverseProblem.from_pairs(
            *(X, Y, weight),
            operator=self.operator,
            noise_level=self.noise_level,
            bandwidth=self.prior_bandwidth,
            bandwidth_rule=self._block.bandwidth_rule,
            common_mean=self._block.common_mean,
            max_condition=self._max_condition,
            random_state=rng,
        )
        self._problem.units = old or self._problem.units
        self._generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        self._optimizer, self._n_seen = None, weight.sum()
        self.operator_ = self._problem.operator
        self.noise_level_ = self._problem.noise_level
        self.prior_bandwidth_ = self._problem.bandwidth
        epsilon = getattr(self, "epsilon", "auto")
        self.epsilon_ = self.noise_level_**2 if epsilon == "auto" else float(epsilon)

    def _bandwidth(self, loss):
        """The bandwidth for a loss: a score needs more smoothing than a reconstruction."""
        bandwidth = self._problem.bandwidth
        if not isinstance(self.prior_bandwidth, str) or not loss.expects_noise:
            return bandwidth
        return self._block.reconstruction_smoothing * bandwidth

    @property
    def _max_condition(self):
        """The largest slope of one block over its smallest: (1 + L)/(1 − L)."""
        return (1 + self.lipschitz) / (1 - self.lipschitz)

    def _stages(self, solver, warm):
        """The losses to train with, one after the other, and their iterations."""
        if self._start is None or warm or self.max_iter == 1:
            return [(self._loss, self.max_iter)]
        n_start = max(1, int(self._block.first_stage_share(solver) * self.max_iter))
        return [(self._start, n_start), (self._loss, self.max_iter - n_start)]

    def _objective(self, name, X, Y, weight, n_seen, solver):
        """What training with the named loss minimises, in unit scale."""
        problem, units, dtype = self._problem, self._problem.units, _PRECISION[solver]
        loss = LOSSES[name]()
        loss.epsilon = _round(loss.unit_epsilon(self.epsilon_, units))
        Z = problem.targets(Y) if loss.expects_noise else problem.expected_targets(X, Y, weight)
        w = units.from_targets(Z)
        forward, constant = problem.unit_forward, 0.0
        self.prior_bandwidth_ = self._bandwidth(loss)
        without_known = self.network_.knows_forward and not loss.expects_noise
        if without_known:
            # what is known of φ(x) − z drops out, and the operator with it
            w -= units.from_targets(problem.forward_targets(X))
            constant = loss.value_of_known(forward.trace())
            forward = None
        noise = _round(DivergenceLoss.unit_epsilon(self.noise_level_**2, units))
        # fresh jitter regularises by itself; without it the error grows like the second moments do
        fresh = problem.bandwidth > 0 and solver == "adam"
        n = n_seen if fresh else n_seen / (X.shape[1] / 2) ** 2
        decay = loss.decay * noise / ((n + _DECAY_SAMPLES) * (1 + n / _TAIL_SAMPLES))
        return Problem(
            loss,
            self._rounded(units.from_signals(X), dtype),
            self._rounded(w, dtype),
            self._tensor(weight / weight.mean(), dtype),
            self.prior_bandwidth_ / units.signal_scale,
            forward,
            constant,
            decay,
            without_known,
        )

    def _run(self, objective, split, solver, max_iter, task, optimizer=None):
        """One training: progress bar, callbacks and, where the pairs are split, early stopping."""
        train_rows, validation_rows = split
        self.network_.to(_PRECISION[solver])
        network = self.network_.rest() if objective.without_known else self.network_
        description = f"{type(self).__name__}: {type(objective.loss).__name__}"
        with progress_bar(description, max_iter, self.verbose) as progress:

            def callback(history):
                progress(history)
                return task is not None and task.iterate()

            try:
                return train(
                    network,
                    objective if train_rows is None else objective.split(train_rows),
                    validation=None if train_rows is None else objective.split(validation_rows),
                    solver=solver,
                    max_iter=max_iter,
                    tol=self.tol,
                    batch_size=self._batch_size(),
                    learning_rate_init=self.learning_rate_init,
                    n_iter_no_change=self.n_iter_no_change,
                    optimizer=optimizer,
                    generator=self._generator,
                    callback=callback,
                )
            finally:
                self.network_.to(torch.float64)

    def _record(self, history, loss):
        """The course of training in the user's units, and the certificate."""

        def in_user_units(values):
            return [float(loss.in_user_units(value, self._problem.units)) for value in values]

        self.loss_curve_ = in_user_units(history.loss_curve)
        self.validation_loss_curve_ = in_user_units(history.validation_loss_curve) or None
        (self.best_loss_,) = in_user_units([history.best_loss])
        self.n_iter_ = len(self.loss_curve_)
        self._certify()

    def _certify(self):
        """The certified bound, from the exact norms."""
        with torch.no_grad():
            bound = self.network_.lipschitz().cpu().numpy()
        self.lipschitz_ = np.minimum(bound + _ROUNDING, self.lipschitz)

    def _choose_solver(self, X):
        if self.solver != "auto":
            return self.solver
        small = X.size <= _LBFGS_ENTRIES and X.shape[1] <= _LBFGS_FEATURES
        # full batches draw the jitter once, which is enough where the signals fill their space
        jitter_matters = self.prior_bandwidth_ > 0 and len(X) < 10 * X.shape[1] ** 2
        return "lbfgs" if small and not jitter_matters else "adam"

    def _batch_size(self):
        if self.batch_size != "auto":
            return self.batch_size
        return self._block.default_batch_size(self.n_features_in_)

    def _split(self, n_samples, rng):
        if not self.early_stopping:
            return None, None
        rows = np.arange(n_samples)
        return train_test_split(rows, test_size=self.validation_fraction, random_state=rng)

    # --------------------------------------------------------------------------------- the network

    @property
    def _block(self):
        """The class of the residual blocks, checked."""
        return branch_of(self.residual)

    @property
    def _architecture(self):
        """What the parameters ask of the network, checked."""
        return Architecture(
            n_features=self.n_features_in_,
            n_blocks=self.n_blocks,
            hidden_layer_sizes=self._hidden_sizes(),
            lipschitz=self.lipschitz,
            has_operator=not (self.operator is None or isinstance(self.operator, str)),
            image_shape=self.image_shape,
            kernel_size=self.kernel_size,
        )

    def _network_config(self, options=None):
        """The parameters of the network."""
        architecture, block = self._architecture, self._block
        sizes = architecture.hidden_layer_sizes
        options = block.options(architecture) if options is None else options
        return {
            "n_features": self.n_features_in_,
            "known_bounds": self._problem.unit_bounds if self._knows_forward else None,
            "residual": name_of(block),
            "n_blocks": self.n_blocks,
            "hidden_layer_sizes": sizes or block.default_hidden_layer_sizes(architecture),
            "lipschitz": self.lipschitz,
            "block_options": options,
        }

    def _hidden_sizes(self):
        if isinstance(self.hidden_layer_sizes, str):
            return None
        sizes = tuple(np.atleast_1d(self.hidden_layer_sizes).tolist())
        if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be positive integers; got {self.hidden_layer_sizes!r}."
            )
        return sizes

    @property
    def _knows_forward(self):
        """Whether the operator is a part of the network, which learns the rest of φ alone."""
        large = self.n_features_in_ > self._block.most_features_of_matrices
        return self.operator_ is not None and self.n_blocks == 1 and large

    def _resize(self):
        """Take up another image shape and operator with the network at hand."""
        shape = self.image_shape
        self.n_features_in_ = math.prod(shape) if shape else self.n_features_in_
        trained = self.network_.config["block_options"]
        options = self._block.options_at(self._architecture, trained)
        self._problem = self._problem.resized(self.operator, self.n_features_in_)
        self.operator_ = self._problem.operator
        self.n_measurements_in_ = self.operator_.shape[0]
        network = IResNet(**self._network_config(options), known=self._problem.unit_forward)
        network.load_state_dict(self.network_.state_dict())
        self.network_ = network.to(self.network_.device, torch.float64)
        self._certify()

    def _new_network(self, X, weight, dtype):
        known = self._problem.unit_forward if self._knows_forward else None
        network = IResNet(**self._network_config(), known=known, generator=self._generator)
        self.network_ = network.to(dtype=dtype, device=self.device)
        u = self._rounded(self._problem.units.from_signals(X), dtype)
        weight = self._tensor(weight / weight.sum(), dtype)
        mean = weight @ u
        deviations = weight.sqrt()[:, None] * (u - mean)
        network.initialize(mean, deviations, self._linear_guess(deviations))

    def _linear_guess(self, deviations):
        """The optimum for Gaussian signals, in unit scale: G + ε Cov⁻¹, made positive definite.

        Where G is known, the mean of the eigenvalues of the rest.
        """
        problem = self._problem
        epsilon = DivergenceLoss.unit_epsilon(self.noise_level_**2, problem.units)
        smoothing = problem.unit_bandwidth**2 + 1e-6
        if self._knows_forward:
            n_features = deviations.shape[1]
            variances = torch.linalg.eigvalsh(small_gram(deviations)).clamp(min=0)
            variances = F.pad(variances, (n_features - len(variances), 0))
            return self._clipped(epsilon / (variances.flip(0) + smoothing)).mean()
        covariance = deviations.T @ deviations
        smoothed = covariance + smoothing * torch.eye(len(covariance)).to(covariance)
        forward = problem.unit_forward.matrix(covariance)
        guess = (forward + forward.T) / 2 + epsilon * torch.linalg.inv(smoothed)
        spectrum, axes = torch.linalg.eigh(guess)
        return (axes * self._clipped(spectrum)) @ axes.T

    def _clipped(self, slopes):
        """Slopes, the lowest first, such that the network can hold them all."""
        slopes = slopes.clamp(min=_SMALLEST_SLOPE)
        return slopes.clamp(max=self._max_condition * slopes[0])

    def _check_same_network(self):
        config = self._network_config()
        if config != self.network_.config:
            raise ValueError(
                "warm_start=True continues with the network at hand, which was made with "
                f"{self.network_.config}; X and the parameters now ask for {config}. Set "
                "warm_start=False, or keep them."
            )

    def _tensor(self, values, dtype=torch.float64):
        return torch.from_numpy(values).to(device=self.network_.device, dtype=dtype)

    def _rounded(self, values, dtype):
        """Rounded to float32: in unit scale the same bits whatever the units of X and Y."""
        return self._tensor(values, torch.float32).to(dtype)


def _round(value):
    return float(np.float32(value))
