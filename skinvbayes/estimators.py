"""The four estimators: validation, units, and what the trained network says about new data."""

import numbers
import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from .inversion import invert
from .losses import LOSSES, DivergenceLoss
from .networks import RESIDUALS, IResNet, ResidualBlock
from .operators import as_operator, check_adjoint, estimate_operator
from .reporting import progress_bar
from .threads import single_thread
from .training import Problem, train

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
            unit = self._to_unit(X.astype(np.float64), self._signal_mean, self._signal_scale)
            values = torch.cat([self.network_(part) for part in unit.split(_CHUNK_ROWS)])
        Z = self._target_mean + self._target_scale * values.cpu().numpy()
        return Z.astype(X.dtype)

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
        d, m = X.shape[1], Y.shape[1]
        fitted = estimate_operator(X, Y)
        if isinstance(self.operator, str) and self.operator != "estimate":
            raise ValueError(
                f'operator must be None, "estimate" or a linear operator; got {self.operator!r}.'
            )
        if isinstance(self.operator, str) or (self.operator is None and m != d):
            self.operator_ = fitted
        elif self.operator is None:
            self.operator_ = None
        else:
            self.operator_ = as_operator(self.operator)
            if self.operator_.shape != (m, d):
                raise ValueError(
                    f"operator has shape {self.operator_.shape}, but X has {d} features and y has "
                    f"{m} measurements: an operator of shape {(m, d)} is needed."
                )
            check_adjoint(self.operator_, random_state=0)
        forward = (self.operator_ or fitted).to_dense()
        # G, whose noise-free image E[z|x] = G x + g is
        self._forward_matrix = forward if self.operator_ is None else forward.T @ forward
        if self.operator_ is None:
            self._warn_if_not_monotone(X)
        self._noise_level_auto(X, Y)
        self._set_units(X, Y)
        self._set_bandwidth(X, rng)

    def _noise_level_auto(self, X, Y):
        """δ̂: the root mean square residual of the measurements, with degrees of freedom."""
        if self.noise_level != "auto":
            self.noise_level_ = float(self.noise_level)
        else:
            known = self.operator_ is not None and not (
                isinstance(self.operator, str) or self.operator is None
            )
            A = self.operator_ if known else estimate_operator(X, Y)
            residual = Y - A.forward(X)
            residual -= residual.mean(axis=0)
            n_free = 1 if known else min(1 + np.linalg.matrix_rank(X - X.mean(axis=0)), len(X) - 1)
            self.noise_level_ = float(np.sqrt((residual**2).mean() * len(X) / (len(X) - n_free)))
        epsilon = getattr(self, "epsilon", "auto")
        self.epsilon_ = self.noise_level_**2 if epsilon == "auto" else float(epsilon)

    def _set_units(self, X, Y):
        """x = x̄ + s u and z = z̄ + s a w, with a = ‖G‖: the problem the network sees."""
        self._signal_mean = X.mean(axis=0)
        self._signal_scale = float(np.sqrt(X.var(axis=0).mean())) or 1.0
        self._forward_norm = float(np.linalg.norm(self._forward_matrix, 2)) or 1.0
        self._target_mean = self._targets(Y).mean(axis=0)
        self._target_scale = self._signal_scale * self._forward_norm

    def _set_bandwidth(self, X, rng):
        if self.prior_bandwidth == "auto":
            self.prior_bandwidth_ = _auto_bandwidth(X, rng)
        else:
            self.prior_bandwidth_ = float(self.prior_bandwidth)

    def _warn_if_not_monotone(self, X):
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

    # ------------------------------------------------------------------------------------ training

    def _train(self, X, Y, weight, rng):
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        solver = self._choose_solver(X)
        dtype = torch.float64 if solver == "lbfgs" else torch.float32
        starting = not (self.warm_start and hasattr(self, "network_"))
        if starting:
            self.network_ = self._new_network(X.shape[1], generator)
        self.network_.to(dtype=dtype, device=self.device)
        u = self._to_rounded_unit(X, self._signal_mean, self._signal_scale, dtype)
        if starting:
            self.network_.initialize(u, self._linear_guess(u))
        weight = torch.from_numpy(weight).to(u)
        split = self._split(len(X), rng)
        max_iter = self.max_iter
        if self._start is not None and starting and max_iter > 1:
            short = max(1, int(_START_SHARE[solver] * max_iter))
            max_iter -= short
            self._run(self._start, short, solver, X, Y, u, weight, split, generator)
        history = self._run(self._loss, max_iter, solver, X, Y, u, weight, split, generator)
        self.network_.to(torch.float64)
        self.loss_curve_ = history.loss_curve
        self.validation_loss_curve_ = history.validation_loss_curve or None
        self.best_loss_ = history.best_loss
        self.n_iter_ = len(history.loss_curve)
        with torch.no_grad():
            self.lipschitz_ = self.network_.lipschitz().cpu().numpy()

    def _run(self, name, max_iter, solver, X, Y, u, weight, split, generator):
        """One training with the named loss; its history, in the user's units."""
        loss = LOSSES[name]()
        scales = (self._signal_scale, self._forward_norm)
        bandwidth = self.prior_bandwidth_ / self._signal_scale
        loss.epsilon = float(np.float32(loss.unit_epsilon(self.epsilon_, *scales)))
        noise = float(np.float32(DivergenceLoss.unit_epsilon(self.noise_level_**2, *scales)))
        # fresh jitter regularises by itself; without it the error grows like the second moments do
        n_moments = 1 if bandwidth > 0 else (u.shape[1] / 2) ** 2
        targets = self._targets(Y)
        if not loss.expects_noise and self.operator_ is not None:
            targets = self._expected_targets(X, targets)
        w = self._to_rounded_unit(targets, self._target_mean, self._target_scale, u.dtype)
        forward = torch.from_numpy(self._forward_matrix / self._forward_norm).float().to(u)
        problem = Problem(loss, u, w, weight, bandwidth, forward)
        train_rows, validation_rows = split
        with progress_bar(f"{type(self).__name__}: {name}", max_iter, self.verbose) as progress:
            history = train(
                self.network_,
                problem if validation_rows is None else problem.split(train_rows),
                validation=None if validation_rows is None else problem.split(validation_rows),
                solver=solver,
                max_iter=max_iter,
                tol=self.tol,
                batch_size=128 if self.batch_size == "auto" else self.batch_size,
                learning_rate_init=self.learning_rate_init,
                n_iter_no_change=self.n_iter_no_change,
                decay=loss.decay * noise * n_moments / len(u),
                generator=generator,
                progress=progress,
            )
        in_user_units = [
            [float(loss.in_user_units(v, u.shape[1], *scales)) for v in curve]
            for curve in (history.loss_curve, history.validation_loss_curve, [history.best_loss])
        ]
        history.loss_curve, history.validation_loss_curve, (history.best_loss,) = in_user_units
        return history

    def _linear_guess(self, u):
        """The optimum for Gaussian signals, in unit scale: G + ε Cov⁻¹, made positive definite."""
        d = u.shape[1]
        smoothing = (self.prior_bandwidth_ / self._signal_scale) ** 2 + 1e-6
        covariance = torch.cov(u.T, correction=0).reshape(d, d) + smoothing * torch.eye(d).to(u)
        epsilon = DivergenceLoss.unit_epsilon(
            self.noise_level_**2, self._signal_scale, self._forward_norm
        )
        forward = torch.from_numpy(self._forward_matrix / self._forward_norm).to(u)
        guess = (forward + forward.T) / 2 + epsilon * torch.linalg.inv(covariance)
        spectrum, axes = torch.linalg.eigh(guess)
        return (axes * spectrum.clamp(_SLOPE_RANGE[0], _SLOPE_RANGE[1])) @ axes.T

    def _expected_targets(self, X, targets):
        """E[z|x] = G x + g: with a linear operator the losses that only see it are free of noise.

        Rao–Blackwell: the optimum is the same, the noise of z no longer adds to the variance.
        """
        expected = self.operator_.gram(X)
        return expected + (targets - expected).mean(axis=0)

    def _choose_solver(self, X):
        if self.solver != "auto":
            return self.solver
        small = X.size <= _LBFGS_ENTRIES and X.shape[1] <= _LBFGS_FEATURES
        return "lbfgs" if small and self.prior_bandwidth_ == 0 else "adam"

    def _new_network(self, n_features, generator):
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, str):
            width = int(np.clip(8 * n_features, 32, 512))
            sizes = (width, width) if self.residual == "mlp" else (width,)
        sizes = tuple(np.atleast_1d(sizes).tolist())
        if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be positive integers; got {self.hidden_layer_sizes!r}."
            )
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
            hidden_layer_sizes=sizes,
            lipschitz=self.lipschitz,
            generator=generator,
        )

    def _split(self, n_samples, rng):
        if not self.early_stopping:
            return None, None
        rows = np.arange(n_samples)
        return train_test_split(rows, test_size=self.validation_fraction, random_state=rng)

    # ----------------------------------------------------------------------------------- inference

    def _to_unit(self, values, mean, scale, dtype=torch.float64):
        unit = torch.from_numpy((values - mean) / scale)
        return unit.to(device=self.device, dtype=dtype)

    def _to_rounded_unit(self, values, mean, scale, dtype):
        """Unit scale rounded to float32: the same bits whatever the units of X and Y."""
        return self._to_unit(values, mean, scale, torch.float32).to(dtype)

    def _invert(self, Z):
        with single_thread(), torch.no_grad():
            w = self._to_unit(Z, self._target_mean, self._target_scale)
            found = [invert(self.network_, part) for part in w.split(_CHUNK_ROWS)]
        converged = torch.cat([part.converged for part in found])
        if not converged.all():
            residual = torch.cat([part.residual for part in found])[~converged].max()
            warnings.warn(
                f"The inversion of {int((~converged).sum())} of {len(Z)} rows did not converge; "
                f"the largest residual is {self._target_scale * float(residual):.3g}. Lower "
                f"lipschitz (now {self.lipschitz}) and fit again, or check these rows: they may "
                "lie far outside the training data.",
                ConvergenceWarning,
                stacklevel=3,
            )
        x = torch.cat([part.x for part in found])
        return self._signal_mean + self._signal_scale * x.cpu().numpy()


_PARAMETERS = """
    operator : None, "estimate" or array-like, sparse matrix or LinearOperator of shape \
            (n_measurements, n_features), default=None
        The operator A. With an operator the network learns the normal equation, z = Aᵀ y. None
        learns from x to y directly where they have the same size (z = y), and otherwise means
        "estimate": ridge least squares from the pairs.
    noise_level : "auto" or float, default="auto"
        Standard deviation δ of the noise, in the units of y. "auto" takes the root mean square
        residual of the pairs.
    prior_bandwidth : "auto" or float, default="auto"
        Standard deviation, in the units of x, of the Gaussian that smooths the prior: jitter on x,
        and its image on z, fresh at every step. "auto" is 0 where the signals fill their space, and
        else a nearest neighbour's distance for each coordinate.
    residual : {"gradient", "mlp"} or a subclass of ResidualBlock, default="gradient"
        The residual branch: the gradient of a strongly convex function, the paper's multilayer
        perceptron, or your own.
    n_blocks : int, default=1
        Number of residual blocks.
    hidden_layer_sizes : "auto", int or tuple of int, default="auto"
        Units of each branch; "auto" takes 8 for each feature, between 32 and 512.
    lipschitz : float, default=0.999
        Bound L of the Lipschitz constant of each branch, in (0, 1). The smallest slope of the
        forward map is about (1 − L)/2 of its largest.
    solver : {"auto", "lbfgs", "adam"}, default="auto"
        Full-batch L-BFGS or mini-batch Adam; "auto" takes L-BFGS for up to 32 features, 2¹⁸ numbers
        in X and no bandwidth.
    max_iter : int, default=200
        Iterations of L-BFGS or epochs of Adam. Reconstruction and log-determinant spend a quarter
        (L-BFGS) or three quarters (Adam) of them on the divergence loss, a cheap first guess.
    tol : float, default=1e-4
        Relative improvement of the validation loss that counts, for early stopping.
    batch_size : "auto" or int, default="auto"
        Pairs in each step of Adam; "auto" is 128.
    learning_rate_init : float, default=0.003
        First step size of Adam; it falls to zero along a cosine.
    early_stopping : bool, default=False
        Set pairs aside, stop when their loss no longer improves, and restore the best weights.
    validation_fraction : float, default=0.1
        Part of the pairs set aside by early stopping.
    n_iter_no_change : int, default=10
        Iterations without improvement before early stopping.
    warm_start : bool, default=False
        Start the next fit from the weights of the last one.
    device : str or torch.device, default="cpu"
        Where to compute.
    random_state : int, RandomState instance or None, default=None
        Source of initial weights, batches and jitter. The same seed gives the same model.
    verbose : bool, default=False
        Show a progress bar (needs rich).

    Attributes
    ----------
    network_ : IResNet
        The trained network, in unit scale.
    operator_ : Operator or None
        The operator, given or estimated; None for the original problem z = y.
    epsilon_, noise_level_, prior_bandwidth_ : float
        The values used.
    loss_curve_, validation_loss_curve_ : list of float
        The loss above after every iteration, in the user's units. For all losses but the
        reconstruction's, a linear operator lets E[z|x] stand in for z: the optimum is the same and
        the noise of z drops out. No validation curve (None) without early stopping.
    best_loss_ : float
        The lowest loss, on the validation pairs where there are any.
    n_iter_ : int
        Number of iterations.
    lipschitz_ : ndarray of shape (n_blocks,)
        Certified Lipschitz bound of each residual branch.
    n_features_in_, n_measurements_in_ : int
        Sizes of a signal and of a measurement.

    See Also
    --------
    ApproximationINN, ReconstructionINN, LogDetRegularizedINN, DivergenceRegularizedINN

    Notes
    -----
    ``predict`` takes measurements. So ``scoring=None`` (the method ``score``) is right in searches
    and cross-validation, whereas ``scoring="r2"`` would compare predict(X) with Y: without an error
    where signals and measurements have the same size.

    References
    ----------
    N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
    Estimators", arXiv:2510.26704.
"""

_EPSILON = """
    epsilon : "auto" or float, default="auto"
        Weight of the penalty, in the units of y squared; "auto" is δ², the Bayesian choice."""


def _documented(cls):
    """Fill in what the four docstrings share."""
    epsilon = _EPSILON if "epsilon" in cls._parameter_constraints else ""
    parameters = "\n    Parameters\n    ----------" + epsilon + _PARAMETERS.rstrip()
    cls.__doc__ = cls.__doc__.replace("\n{parameters}", "\n" + parameters)
    return cls


@_documented
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


@_documented
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


@_documented
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


@_documented
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


def _auto_bandwidth(X, rng, n_queries=500):
    """A neighbour's distance for each coordinate, where the signals do not fill the space.

    They do when there are many for each second moment, or when neighbours are about as far apart
    as for a Gaussian of the same covariance; then the bandwidth is zero.
    """
    n, d = X.shape
    if n >= 10 * d**2:
        return 0.0
    centred = X - X.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    surrogate = rng.standard_normal((n, len(singular))) * (singular / np.sqrt(n)) @ axes
    rows = rng.permutation(n)[:n_queries]
    distance, expected = _neighbour_distance(centred, rows), _neighbour_distance(surrogate, rows)
    return 0.0 if distance > 0.9 * expected else float(distance / np.sqrt(d))


def _neighbour_distance(X, rows):
    """Root mean square distance of some rows to their nearest neighbours."""
    distance = NearestNeighbors(n_neighbors=2).fit(X).kneighbors(X[rows])[0][:, 1]
    return np.sqrt((distance**2).mean())
