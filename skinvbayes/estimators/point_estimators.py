"""The four estimators: scikit-learn's contract around a trained network."""

import numbers
import warnings

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ..inference.adapted import TransferredMap, TransferredNetwork
from ..inference.trained_map import ForwardMap
from ..networks import RESIDUALS
from ..numerics.threads import single_thread
from ..training.callbacks import CallbackSupportMixin, FitTask, with_callbacks
from ..training.fit import TrainingMixin
from .docstrings import documented
from .persistence import (
    check_version,
    pack_generator,
    pack_network,
    pack_optimizer,
    unpack_generator,
    unpack_network,
    unpack_optimizer,
    version,
)
from .posterior_methods import PosteriorMixin

__all__ = [
    "ApproximationINN",
    "DivergenceRegularizedINN",
    "LogDetRegularizedINN",
    "ReconstructionINN",
]

_DTYPES = [np.float64, np.float32]


class _BaseINN(
    PosteriorMixin,
    TrainingMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """What the four estimators share."""

    _parameter_constraints = {
        "operator": "no_validation",  # as_operator says what is wrong with it
        "noise_level": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
        "prior_bandwidth": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
        "residual": [StrOptions(set(RESIDUALS)), callable],
        "n_blocks": [Interval(numbers.Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [StrOptions({"auto"}), "array-like", numbers.Integral],
        "image_shape": [None, "array-like"],
        "kernel_size": [Interval(numbers.Integral, 3, None, closed="left")],
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
        image_shape=None,
        kernel_size=7,
        lipschitz=0.999,
        solver="auto",
        max_iter=200,
        tol=1e-5,
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
        self.image_shape = image_shape
        self.kernel_size = kernel_size
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

    @with_callbacks
    def fit(self, X, y, sample_weight=None):
        """Learn the forward map and the reconstruction from pairs.

        An interrupt from the keyboard ends the training and leaves a usable estimator with what
        it had learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Measurements, in the units of ``A`` times those of X.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each pair counts; once by default.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If shapes, values or parameters do not fit, or if the loss is not finite in the first
            iteration; the message says what to change.

        Warns
        -----
        ConvergenceWarning
            If training diverged or was interrupted and the best weights so far were restored.
        UserWarning
            If, with ``operator=None``, the map from x to y is far from monotone.
        """
        pairs = self._validate_training(X, y, sample_weight, reset=True)
        data = {"X": X, "y": y}
        if sample_weight is not None:
            data["metadata"] = {"sample_weight": sample_weight}
        task = FitTask(self, self.max_iter, **data)
        with single_thread():
            self._train(*pairs, task)
        task.end()
        return self

    def partial_fit(self, X, y, sample_weight=None):
        """Continue training with one pass of Adam over new pairs.

        Operator, units, noise level, epsilon and bandwidth are learned from the pairs of the first
        call (or of ``fit``), which should be representative.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Measurements.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each pair counts; once by default.

        Returns
        -------
        self : estimator
            The estimator; the mean loss of this pass is the last of ``loss_curve_``.
        """
        first = not hasattr(self, "network_")
        pairs = self._validate_training(X, y, sample_weight, reset=first)
        with single_thread():
            self._train_pass(*pairs, first)
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
        X = self._check_signals(X)
        return self._map.forward(X)

    def jacobian(self, X):
        """The Jacobian Dφ of :meth:`transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        jacobian : ndarray of shape (n_samples, n_features, n_features)
            ``Dφ(x)``, ``jacobian[:, i, j]`` the derivative of the i-th output by the j-th feature;
            symmetric with ``residual="gradient"`` and one block.
        """
        X = self._check_signals(X)
        return self._map.jacobian(X)

    def prior_term(self, X):
        """What training has added to the forward map, ``G x − φ(x)``.

        G is the forward map of z, ``AᵀA``; without an operator, the least-squares fit of y to x.
        What this term is in theory depends on the loss; see
        :func:`skinvbayes.diagnostics.optimal_prior_term`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        prior_term : ndarray of shape (n_samples, n_features)
            The term, in the units of :meth:`transform`.
        """
        X = self._check_signals(X)
        double = X.astype(np.float64)
        return (self._problem.forward_targets(double) - self._map.forward(double)).astype(X.dtype)

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
        Z = check_array(X, dtype=_DTYPES, input_name="Z")
        if Z.shape[1] != self.n_features_in_:
            raise ValueError(
                f"Z has {Z.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return self._invert(Z, lambda rows: rows, self._map)

    def predict(self, X, return_std=False):
        """Reconstruct signals from measurements: ``φ⁻¹(Aᵀ y)``, or ``φ⁻¹(y)`` without an operator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_measurements)
            Measurements Y. The name X is scikit-learn's for what ``predict`` takes.
        return_std : bool, default=False
            Whether to return the standard deviation too; see :meth:`posterior_std`.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            Reconstructions, in the units of the training signals.
        std : ndarray of shape (n_samples, n_features)
            Standard deviation of the error of each, if ``return_std``.

        Warns
        -----
        ConvergenceWarning
            If the inversion of some rows did not converge, with their number and residual.
        """
        return self._predict(self._check_measurements(X), return_std, None)

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
        found = self._invert(Y, self._problem.targets, self._map)
        return r2_score(X, found, sample_weight=sample_weight, multioutput="variance_weighted")

    def at_image_shape(self, image_shape, operator):
        """The same estimator for images of another size, with ``residual="conv"``.

        The filters are the same at every pixel, so that what was learned from small patches
        reconstructs whole images. Nothing is trained.

        Parameters
        ----------
        image_shape : tuple of two int
            Height and width of the images.
        operator : linear operator of shape (n_measurements, n_features)
            The operator A for these images, of the same kind as that of the training.

        Returns
        -------
        estimator : estimator
            A fitted copy; this one stays as it is.

        Raises
        ------
        ValueError
            If the branch is another one, or if the operator does not fit the images.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import eye_array
        >>> from skinvbayes import DivergenceRegularizedINN
        >>> rng = np.random.RandomState(0)
        >>> X = rng.randint(2, size=(50, 2, 2)).repeat(4, axis=1).repeat(4, axis=2).reshape(50, 64)
        >>> Y = X + 0.2 * rng.standard_normal(X.shape)
        >>> estimator = DivergenceRegularizedINN(
        ...     operator=eye_array(64), residual="conv", image_shape=(8, 8), kernel_size=3,
        ...     max_iter=5, random_state=0,
        ... ).fit(X, Y)
        >>> whole = estimator.at_image_shape((20, 30), operator=eye_array(600))
        >>> whole.predict(np.zeros((1, 600))).shape
        (1, 600)
        """
        check_is_fitted(self)
        other = clone(self).set_params(image_shape=image_shape, operator=operator)
        fitted = set(vars(self)) - set(self.get_params())
        vars(other).update({name: value for name, value in vars(self).items() if name in fitted})
        other._resize()
        return other

    # ------------------------------------------------------------------------------- persistence

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "network_" in state:
            state["network_"] = pack_network(self.network_)
            state["_generator"] = pack_generator(self._generator)
            if self._optimizer is not None:
                state["_optimizer"] = pack_optimizer(self._optimizer)
        return state | {"_skinvbayes_version": version()}

    def __setstate__(self, state):
        state = dict(state)
        check_version(state.pop("_skinvbayes_version", None), type(self).__name__)
        if "network_" in state:
            known = state["_problem"].unit_forward
            network = unpack_network(state["network_"], state["device"], known)
            state["network_"] = network
            state["_generator"] = unpack_generator(state["_generator"])
            if state["_optimizer"] is not None:
                state["_optimizer"] = unpack_optimizer(state["_optimizer"], network)
        super().__setstate__(state)

    # ------------------------------------------------------------------------------- validation

    def _validate_training(self, X, y, sample_weight, reset):
        """Distinct pairs and their weights, in double precision."""
        self._validate_params()
        X, Y = self._validate_pairs(X, y, reset)
        if reset and len(X) < 2:
            raise ValueError(
                f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of 2 is "
                f"required by {type(self).__name__}: give at least 2 pairs of signal and "
                "measurement."
            )
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weight.sum() > 0:
            raise ValueError("sample_weight is zero for every sample; at least one must count.")
        return _distinct_pairs(X.astype(np.float64), Y.astype(np.float64), weight)

    def _validate_pairs(self, X, y, reset):
        checked = y if y is None else "no_validation"  # of None the message is scikit-learn's
        X = validate_data(self, X, y=checked, reset=reset, dtype=_DTYPES)
        expected = None if reset else self.n_measurements_in_
        Y = self._validate_measurements(y, expected, ensure_2d=False)
        check_consistent_length(X, Y)
        self.n_measurements_in_ = Y.shape[1]
        return X, Y

    def _validate_measurements(self, Y, expected, ensure_2d):
        Y = check_array(Y, dtype=_DTYPES, ensure_2d=ensure_2d, input_name="y")
        Y = Y.reshape(len(Y), -1)
        if expected is not None and Y.shape[1] != expected:
            raise ValueError(
                f"y has {Y.shape[1]} measurements per sample, but {type(self).__name__} was fitted "
                f"with {expected}. predict takes measurements, not signals."
            )
        return Y

    # ----------------------------------------------------------------------------------- inference

    @property
    def _map(self):
        return ForwardMap(self.network_, self._problem.units)

    def _check_signals(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=_DTYPES)

    def _check_measurements(self, Y):
        check_is_fitted(self)
        return self._validate_measurements(Y, self.n_measurements_in_, ensure_2d=True)

    def _invert(self, rows, targets, map_):
        """φ⁻¹(targets(rows)); what did not converge is said."""
        X, residual, converged = map_.inverse(rows, targets)
        if not converged.all():
            failed = np.flatnonzero(~converged)
            some = ", ".join(map(str, failed[:5])) + (", …" if len(failed) > 5 else "")
            warnings.warn(
                f"The inversion of {len(failed)} of {len(rows)} rows did not converge (rows "
                f"{some}); the largest residual is {residual[failed].max():.3g}. {map_.advice}",
                ConvergenceWarning,
                stacklevel=5,
            )
        return X


def _distinct_pairs(X, Y, weight):
    """The pairs that count, once each and in a fixed order, with the sums of their weights.

    So a weight is the same as repetition, and the order of the pairs does not matter, to the last
    bit of the model.
    """
    n_features = X.shape[1]
    counted = np.flatnonzero(weight > 0)
    rows = np.empty((len(counted), n_features + Y.shape[1]))
    np.take(X, counted, axis=0, out=rows[:, :n_features])
    np.take(Y, counted, axis=0, out=rows[:, n_features:])
    rows += 0.0  # -0.0 is 0.0
    bits = rows.view(np.dtype((np.void, rows.strides[0]))).ravel()
    order = bits.argsort(kind="stable")
    rows, weight = rows[order], weight[counted][order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    if not new.all():
        rows, weight = rows[new], np.add.reduceat(weight, np.flatnonzero(new))
    return rows[:, :n_features], rows[:, n_features:], weight


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
        image_shape=None,
        kernel_size=7,
        lipschitz=0.999,
        solver="auto",
        max_iter=200,
        tol=1e-5,
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
            image_shape=image_shape,
            kernel_size=kernel_size,
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

    def predict(self, X, return_std=False, noise_level=None):
        """Reconstruct signals from measurements: the MAP estimate, also for another noise level.

        The map for another noise level δ is ``G x + δ²/ε (φ(x) − G x)``; nothing is trained again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_measurements)
            Measurements Y. The name X is scikit-learn's for what ``predict`` takes.
        return_std : bool, default=False
            Whether to return the standard deviation too; see :meth:`posterior_std`.
        noise_level : float, default=None
            Standard deviation of the noise of these measurements; by default the weight
            ``epsilon_`` of the training holds.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            Reconstructions, in the units of the training signals.
        std : ndarray of shape (n_samples, n_features)
            Standard deviation of the error of each, if ``return_std``.

        Warns
        -----
        ConvergenceWarning
            If the inversion of some rows did not converge; or if, for a noise level above that of
            the training, the map is not monotone there, so that the reconstruction is one of
            several that satisfy the equation. The rows are named.

        Examples
        --------
        >>> from skinvbayes import DivergenceRegularizedINN
        >>> from skinvbayes.datasets import make_bimodal
        >>> data = make_bimodal(2000, noise_level=0.2, random_state=0)
        >>> estimator = DivergenceRegularizedINN(random_state=0).fit(data.X, data.Y)
        >>> less, more = (estimator.predict([[0.0, 1.5]], noise_level=d) for d in (0.1, 0.25))
        >>> bool(less[0, 1] > more[0, 1])  # more noise draws more to the prior's peak
        True
        """
        return self._predict(self._check_measurements(X), return_std, noise_level)

    def _map_at(self, noise_level):
        if noise_level is None:
            return self._map
        if not isinstance(noise_level, numbers.Real) or not 0 < noise_level < np.inf:
            raise ValueError(f"noise_level must be a positive number; got {noise_level!r}.")
        if self.epsilon_ == 0:
            raise ValueError("With epsilon = 0 there is no prior in the network to be weighted.")
        ratio = float(noise_level) ** 2 / self.epsilon_
        network = TransferredNetwork(self.network_, self._problem.unit_forward, ratio)
        return TransferredMap(network, self._problem.units)

    def prior_score(self, X):
        """The learned score of the prior, ``∇log p(x) = (E[z|x] − φ(x)) / ε``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            Score of the prior, smoothed by a Gaussian of ``prior_bandwidth_``, in inverse units of
            the signals.

        Raises
        ------
        ValueError
            If ``epsilon_`` is zero: the network then knows nothing of the prior.

        Examples
        --------
        >>> from skinvbayes import DivergenceRegularizedINN
        >>> from skinvbayes.datasets import make_bimodal
        >>> problem = make_bimodal(2000, noise_level=0.3, random_state=0)
        >>> estimator = DivergenceRegularizedINN(random_state=0).fit(problem.X, problem.Y)
        >>> error = estimator.prior_score(problem.X) - problem.prior.score(problem.X)
        >>> float(abs(error).mean()) < 0.3
        True
        """
        X = self._check_signals(X)
        if self.epsilon_ == 0:
            raise ValueError("With epsilon = 0 there is no prior in the network to show.")
        return self.prior_term(X) / self.epsilon_
