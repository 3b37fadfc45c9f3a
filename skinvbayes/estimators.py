"""The four estimators: validation, units, and what the trained network says about new data."""

import numbers
import warnings
from functools import partial

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from .docstrings import documented
from .inversion import invert
from .losses import LOSSES, DivergenceLoss
from .networks import RESIDUALS, IResNet, ResidualBlock
from .operators import as_operator, check_adjoint, estimate_operator
from .priors import neighbour_bandwidth
from .reporting import progress_bar
from .threads import single_thread
from .training import Problem, train
from .units import Units

__all__ = [
    "ApproximationINN",
    "DivergenceRegularizedINN",
    "LogDetRegularizedINN",
    "ReconstructionINN",
]

_LBFGS_ENTRIES = 2**18  # "auto" takes full batches up to so many numbers in X ...
_LBFGS_FEATURES = 32  # ... of so few features, and Adam beyond
_START_SHARE = {"lbfgs": 0.25, "adam": 0.75}  # of max_iter, for the first guess of a cheaper loss
_SLOPE_RANGE = (1e-3, 1e2)  # of the linear first guess, in unit scale
_CHUNK_ROWS = 4096  # rows of X or Y that are worked on at once after fit


class _BaseINN(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What the four estimators share; ``_loss`` is the name of theirs, ``_start`` of a cheaper
    one whose optimum is a good first guess."""

    _loss = None
    _start = None

    _parameter_constraints = {
        "operator": "no_validation",  # as_operator says what is wrong with it
        "noise_level": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
        "prior_bandwidth": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
        "residual": [StrOptions(set(RESIDUALS)), callable],
        "n_blocks": [Interval(numbers.Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [StrOptions({"auto"}), "array-like", numbers.Integral],
        "lipschitz": [Interval(numbers.Real, 0, 1, closed="neither")],
        "solver": [StrOptions({"auto", "lbfgs", "adam"})],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left")],
        "tol": [Interval(numbers.Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(numbers.Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(numbers.Real, 0, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(numbers.Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        operator=None,
        noise_level="auto",
        prior_bandwidth="auto",
        residual="gradient",
        n_blocks=1,
        hidden_layer_sizes="auto",
        lipschitz=0.999,
        solver="auto",
        max_iter=200,
        tol=1e-4,
        batch_size="auto",
        learning_rate_init=3e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        warm_start=False,
        device="cpu",
        random_state=None,
        verbose=False,
    ):
        self.operator = operator
        self.noise_level = noise_level
        self.prior_bandwidth = prior_bandwidth
        self.residual = residual
        self.n_blocks = n_blocks
        self.hidden_layer_sizes = hidden_layer_sizes
        self.lipschitz = lipschitz
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------------ scikit-learn's contract

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.two_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.non_deterministic = False
        return tags

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def fit(self, X, y, sample_weight=None):
        """Learn the forward map and the reconstruction from pairs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Measurements ``A x + noise``, in the units of ``A`` times those of X.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the pairs in the loss; equal by default.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If shapes, values or parameters do not fit; the message says what to change.

        Warns
        -----
        ConvergenceWarning
            If training diverged and the last good weights were restored.
        UserWarning
            If, with ``operator=None``, the map from x to y is far from monotone.
        """
        self._validate_params()
        X, Y = self._validate_pairs(X, y, reset=True)
        if len(X) < 2:
            raise ValueError(
                f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of 2 is "
                f"required by {type(self).__name__}: give at least 2 pairs of signal and "
                "measurement."
            )
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weight.sum() > 0:
            raise ValueError("sample_weight is zero for every sample; at least one must count.")
        X, Y = X.astype(np.float64), Y.astype(np.float64)
        rng = check_random_state(self.random_state)
        with single_thread():
            self._set_up_problem(X, Y, rng)
            self._train(X, Y, weight / weight.mean(), rng)
        return self

    def transform(self, X):
        """The learned forward map φ: signals to z-space (y-space without an operator).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            ``φ(x)``, in the units of ``Aᵀ y`` (of y without an operator).
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        with single_thread(), torch.no_grad():
            unit = self._tensor(self._units.from_signals(X.astype(np.float64)))
            values = torch.cat([self.network_(part) for part in unit.split(_CHUNK_ROWS)])
        return self._units.to_targets(values.cpu().numpy()).astype(X.dtype)

    def inverse_transform(self, X):
        """The inverse φ⁻¹ of :meth:`transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points of z-space: ``Aᵀ y``, or y without an operator.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Signals.

        Warns
        -----
        ConvergenceWarning
            If the inversion of some rows did not converge, with their number and residual.
        """
        check_is_fitted(self)
        Z = check_array(X, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self.n_features_in_:
            raise ValueError(
                f"Z has {Z.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return self._invert(Z.astype(np.float64)).astype(Z.dtype)

    def predict(self, X):
        """Reconstruct signals from measurements: ``φ⁻¹(Aᵀ y)``, or ``φ⁻¹(y)`` without an operator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_measurements)
            Measurements Y. The name X is scikit-learn's for what ``predict`` takes.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            Reconstructions, in the units of the training signals.

        Warns
        -----
        ConvergenceWarning
            If the inversion of some rows did not converge, with their number and residual.
        """
        check_is_fitted(self)
        Y = self._validate_measurements(X)
        if Y.shape[1] != self.n_measurements_in_:
            raise ValueError(
                f"Y has {Y.shape[1]} measurements per sample, but {type(self).__name__} was fitted "
                f"with {self.n_measurements_in_}. predict takes measurements, not signals."
            )
        return self._invert(self._targets(Y.astype(np.float64))).astype(Y.dtype)

    def score(self, X, y, sample_weight=None):
        """Variance-weighted R² of the reconstruction ``predict(y)`` against the signals X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            True signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Measurements.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            1 for perfect reconstruction, 0 for that of the mean signal.
        """
        check_is_fitted(self)
        X, Y = self._validate_pairs(X, y, reset=False)
        reconstruction = self.predict(Y)
        return r2_score(
            X, reconstruction, sample_weight=sample_weight, multioutput="variance_weighted"
        )

    # ------------------------------------------------------------------------------- validation

    def _validate_pairs(self, X, y, reset):
        X = validate_data(
            self,
            X,
            y=y if y is None else "no_validation",
            reset=reset,
            dtype=[np.float64, np.float32],
        )
        Y = self._validate_measurements(y)
        check_consistent_length(X, Y)
        if not reset and Y.shape[1] != self.n_measurements_in_:
            raise ValueError(
                f"y has {Y.shape[1]} measurements per sample, but {type(self).__name__} was fitted "
                f"with {self.n_measurements_in_}."
            )
        if reset:
            self.n_measurements_in_ = Y.shape[1]
        return X, Y

    @staticmethod
    def _validate_measurements(Y):
        Y = check_array(
            Y, dtype=[np.float64, np.float32], ensure_2d=False, allow_nd=False, input_name="y"
        )
        return Y.reshape(len(Y), -1)

    # --------------------------------------------------------------------------------- the problem

    def _set_up_problem(self, X, Y, rng):
        """Operator, units, noise level, epsilon and bandwidth, from the parameters and the data."""
        fitted = estimate_operator(X, Y)
        self.operator_ = self._choose_operator(fitted, X, Y)
        if self.operator_ is None:
            self._forward_matrix = fitted.to_dense()
            self._warn_if_not_monotone()
        else:
            A = self.operator_.to_dense()
            self._forward_matrix = A.T @ A
        self.noise_level_ = self._choose_noise_level(fitted, X, Y)
        epsilon = getattr(self, "epsilon", "auto")
        self.epsilon_ = self.noise_level_**2 if epsilon == "auto" else float(epsilon)
        self._units = Units.from_data(X, self._targets(Y), self._forward_matrix)
        if self.prior_bandwidth == "auto":
            self.prior_bandwidth_ = neighbour_bandwidth(X, random_state=rng)
        else:
            self.prior_bandwidth_ = float(self.prior_bandwidth)

    def _choose_operator(self, fitted, X, Y):
        d, m = X.shape[1], Y.shape[1]
        if self.operator is None:
            return None if m == d else fitted
        if isinstance(self.operator, str):
            if self.operator == "estimate":
                return fitted
            raise ValueError(
                f'operator must be None, "estimate" or a linear operator; got {self.operator!r}.'
            )
        operator = as_operator(self.operator)
        if operator.shape != (m, d):
            raise ValueError(
                f"operator has shape {operator.shape}, but X has {d} features and y has {m} "
                f"measurements: an operator of shape {(m, d)} is needed."
            )
        check_adjoint(operator, random_state=0)
        return operator

    def _choose_noise_level(self, fitted, X, Y):
        """δ̂: the root mean square residual of the measurements, by degrees of freedom."""
        if self.noise_level != "auto":
            return float(self.noise_level)
        n, n_used = len(X), 1
        operator = self.operator_
        if operator is None or operator is fitted:
            operator = fitted
            n_used = min(1 + np.linalg.matrix_rank(X - X.mean(axis=0)), n - 1)
        residual = Y - operator.forward(X)
        return float(np.sqrt(residual.var(axis=0).mean() * n / (n - n_used)))

    def _warn_if_not_monotone(self):
        G = self._forward_matrix
        lowest, size = np.linalg.eigvalsh((G + G.T) / 2)[0], np.linalg.norm(G, 2)
        if lowest < -0.1 * size:
            warnings.warn(
                "The linear fit of y to X is far from monotone (its symmetric part has the "
                f"eigenvalue {lowest:.3g}, its norm is {size:.3g}), and an invertible residual "
                'network cannot represent such a map. Give the operator, or operator="estimate".',
                UserWarning,
                stacklevel=4,
            )

    def _targets(self, Y):
        """z: the measurements, or Aᵀ y."""
        return Y if self.operator_ is None else self.operator_.adjoint(Y)

    def _expected_targets(self, X, Z):
        """E[z|x] = G x + g: with a linear operator the losses that only see it are free of noise.

        Rao–Blackwell: the optimum is the same, the noise of z no longer adds to the variance.
        """
        if self.operator_ is None:
            return Z
        expected = self.operator_.gram(X)
        return expected + (Z - expected).mean(axis=0)

    # ------------------------------------------------------------------------------------ training

    def _train(self, X, Y, weight, rng):
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        solver = self._choose_solver(X)
        dtype = torch.float64 if solver == "lbfgs" else torch.float32
        cold = not (self.warm_start and hasattr(self, "network_"))
        if cold:
            self.network_ = self._new_network(X.shape[1], generator)
        self.network_.to(dtype=dtype, device=self.device)
        split = self._split(len(X), rng)
        max_iter = self.max_iter
        if cold:
            u = self._rounded(self._units.from_signals(X), dtype)
            self.network_.initialize(u, self._linear_guess(u))
            if self._start is not None and max_iter > 1:
                n_start = max(1, int(_START_SHARE[solver] * max_iter))
                max_iter -= n_start
                start = self._problem(self._start, X, Y, weight, dtype)
                self._run(start, split, solver, n_start, generator)
        problem = self._problem(self._loss, X, Y, weight, dtype)
        history = self._run(problem, split, solver, max_iter, generator)
        self.network_.to(torch.float64)
        self._record(history, problem.loss)

    def _problem(self, name, X, Y, weight, dtype):
        """What the named loss asks for, in unit scale."""
        units, n, d = self._units, *X.shape
        loss = LOSSES[name]()
        loss.epsilon = _round(loss.unit_epsilon(self.epsilon_, units))
        Z = self._targets(Y) if loss.expects_noise else self._expected_targets(X, self._targets(Y))
        bandwidth = self.prior_bandwidth_ / units.signal_scale
        noise = _round(DivergenceLoss.unit_epsilon(self.noise_level_**2, units))
        # fresh jitter regularises by itself; without it the error grows like the second moments do
        n_moments = 1 if bandwidth > 0 else (d / 2) ** 2
        return Problem(
            loss,
            self._rounded(units.from_signals(X), dtype),
            self._rounded(units.from_targets(Z), dtype),
            self._tensor(weight, dtype),
            bandwidth,
            self._rounded(self._forward_matrix / units.forward_norm, dtype),
            loss.decay * noise * n_moments / n,
        )

    def _run(self, problem, split, solver, max_iter, generator):
        """One training with progress bar and, where the pairs are split, early stopping."""
        train_rows, validation_rows = split
        description = f"{type(self).__name__}: {type(problem.loss).__name__}"
        with progress_bar(description, max_iter, self.verbose) as progress:
            return train(
                self.network_,
                problem if train_rows is None else problem.split(train_rows),
                validation=None if train_rows is None else problem.split(validation_rows),
                solver=solver,
                max_iter=max_iter,
                tol=self.tol,
                batch_size=128 if self.batch_size == "auto" else self.batch_size,
                learning_rate_init=self.learning_rate_init,
                n_iter_no_change=self.n_iter_no_change,
                generator=generator,
                progress=progress,
            )

    def _record(self, history, loss):
        """The course of training in the user's units, and the certificate."""
        in_user_units = partial(loss.in_user_units, units=self._units)
        self.loss_curve_ = [in_user_units(value) for value in history.loss_curve]
        validation = [in_user_units(value) for value in history.validation_loss_curve]
        self.validation_loss_curve_ = validation or None
        self.best_loss_ = in_user_units(history.best_loss)
        self.n_iter_ = len(self.loss_curve_)
        with torch.no_grad():
            self.lipschitz_ = self.network_.lipschitz().cpu().numpy()

    def _linear_guess(self, u):
        """The optimum for Gaussian signals, in unit scale: G + ε Cov⁻¹, made positive definite."""
        units, d = self._units, u.shape[1]
        smoothing = (self.prior_bandwidth_ / units.signal_scale) ** 2 + 1e-6
        covariance = torch.cov(u.T, correction=0).reshape(d, d) + smoothing * torch.eye(d).to(u)
        epsilon = DivergenceLoss.unit_epsilon(self.noise_level_**2, units)
        forward = torch.from_numpy(self._forward_matrix / units.forward_norm).to(u)
        guess = (forward + forward.T) / 2 + epsilon * torch.linalg.inv(covariance)
        spectrum, axes = torch.linalg.eigh(guess)
        return (axes * spectrum.clamp(*_SLOPE_RANGE)) @ axes.T

    def _choose_solver(self, X):
        if self.solver != "auto":
            return self.solver
        small = X.size <= _LBFGS_ENTRIES and X.shape[1] <= _LBFGS_FEATURES
        return "lbfgs" if small and self.prior_bandwidth_ == 0 else "adam"

    def _new_network(self, n_features, generator):
        if not isinstance(self.residual, str) and not (
            isinstance(self.residual, type) and issubclass(self.residual, ResidualBlock)
        ):
            raise ValueError(
                'residual must be "gradient", "mlp" or a subclass of '
                f"skinvbayes.networks.ResidualBlock; got {self.residual!r}."
            )
        return IResNet(
            n_features,
            residual=self.residual,
            n_blocks=self.n_blocks,
            hidden_layer_sizes=self._hidden_sizes(n_features),
            lipschitz=self.lipschitz,
            generator=generator,
        )

    def _hidden_sizes(self, n_features):
        if isinstance(self.hidden_layer_sizes, str):
            width = int(np.clip(8 * n_features, 32, 512))
            return (width, width) if self.residual == "mlp" else (width,)
        sizes = tuple(np.atleast_1d(self.hidden_layer_sizes).tolist())
        if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be positive integers; got {self.hidden_layer_sizes!r}."
            )
        return sizes

    def _split(self, n_samples, rng):
        if not self.early_stopping:
            return None, None
        rows = np.arange(n_samples)
        return train_test_split(rows, test_size=self.validation_fraction, random_state=rng)

    # ----------------------------------------------------------------------------------- inference

    def _tensor(self, values, dtype=torch.float64):
        return torch.from_numpy(values).to(device=self.device, dtype=dtype)

    def _rounded(self, values, dtype):
        """Rounded to float32: in unit scale the same bits whatever the units of X and Y."""
        return self._tensor(values, torch.float32).to(dtype)

    def _invert(self, Z):
        units = self._units
        with single_thread(), torch.no_grad():
            w = self._tensor(units.from_targets(Z))
            found = [invert(self.network_, part) for part in w.split(_CHUNK_ROWS)]
        converged = torch.cat([part.converged for part in found])
        if not converged.all():
            residual = torch.cat([part.residual for part in found])[~converged].max()
            warnings.warn(
                f"The inversion of {int((~converged).sum())} of {len(Z)} rows did not converge; "
                f"the largest residual is {units.target_scale * float(residual):.3g}. Lower "
                f"lipschitz (now {self.lipschitz}) and fit again, or check these rows: they may "
                "lie far outside the training data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return units.to_signals(torch.cat([part.x for part in found]).cpu().numpy())


def _round(value):
    return float(np.float32(value))


@documented
class ApproximationINN(_BaseINN):
    """Invertible network trained as the forward map: its inverse does not regularise.

    The loss is the mean of ``½‖φ(x) − z‖²``, whose optimum is ``φ(x) = G x``.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import ApproximationINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = ApproximationINN(random_state=0).fit(problem.X, problem.Y)
    >>> float(abs(estimator.transform([[0.5, 0.5]]) - 0.5).max()) < 0.1
    True
    """

    _loss = "approximation"


@documented
class ReconstructionINN(_BaseINN):
    """Invertible network whose inverse is trained to reconstruct: the posterior mean.

    The loss is the mean of ``½‖φ⁻¹(z) − x‖²``, whose optimum is ``φ⁻¹(z) = E[x | z]``. Training
    starts from the optimum of the divergence loss, which is cheap and close.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import ReconstructionINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = ReconstructionINN(max_iter=40, random_state=0).fit(problem.X, problem.Y)
    >>> estimator.predict(problem.Y).shape
    (200, 2)
    """

    _loss = "reconstruction"
    _start = "divergence"


class _RegularizedINN(_BaseINN):
    _parameter_constraints = {
        **_BaseINN._parameter_constraints,
        "epsilon": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        epsilon="auto",
        *,
        operator=None,
        noise_level="auto",
        prior_bandwidth="auto",
        residual="gradient",
        n_blocks=1,
        hidden_layer_sizes="auto",
        lipschitz=0.999,
        solver="auto",
        max_iter=200,
        tol=1e-4,
        batch_size="auto",
        learning_rate_init=3e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        warm_start=False,
        device="cpu",
        random_state=None,
        verbose=False,
    ):
        super().__init__(
            operator=operator,
            noise_level=noise_level,
            prior_bandwidth=prior_bandwidth,
            residual=residual,
            n_blocks=n_blocks,
            hidden_layer_sizes=hidden_layer_sizes,
            lipschitz=lipschitz,
            solver=solver,
            max_iter=max_iter,
            tol=tol,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.epsilon = epsilon


@documented
class LogDetRegularizedINN(_RegularizedINN):
    """Invertible network with a log-determinant penalty: a smoothed posterior mean.

    The loss is the mean of ``½‖φ(x) − z‖² − ε log|det Dφ(x)|``, whose optimum is
    ``φ(x) = G x − ε ∇log q(φ(x))`` with q the density of φ(X): Tweedie's formula with q in place
    of the density of the measurements. Training starts from the optimum of the divergence loss.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import LogDetRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = LogDetRegularizedINN(max_iter=40, random_state=0).fit(problem.X, problem.Y)
    >>> estimator.score(problem.X, problem.Y) > 0.7
    True
    """

    _loss = "logdet"
    _start = "divergence"


@documented
class DivergenceRegularizedINN(_RegularizedINN):
    """Invertible network with a divergence penalty: the MAP estimator.

    The loss is the mean of ``½‖φ(x) − z‖² − ε div φ(x)``, whose optimum is
    ``φ(x) = G x − ε ∇log p(x)``: with ε = δ² and z = Aᵀ y, ``φ(x̂) = z`` is the first-order
    condition of the MAP estimate.

    {parameters}

    Examples
    --------
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = DivergenceRegularizedINN(random_state=0).fit(problem.X, problem.Y)
    >>> estimator.predict([[0.9, 0.6]]).shape
    (1, 2)
    >>> estimator.score(problem.X, problem.Y) > 0.7
    True
    """

    _loss = "divergence"
