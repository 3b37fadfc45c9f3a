"""The base of the estimators: scikit-learn's contract around a trained network."""

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin

from ..inference.posterior import Posterior
from ..inference.trained_map import TrainedMap, named_rows
from ..losses import Loss
from ..networks.block import ResidualBlock
from ..networks.iresnet import branch_of
from ..numerics.checks import check_flag
from ..numerics.modes import OwnModes, own_modes
from ..numerics.progress import reporting
from ..numerics.sklearn_compat import CallbackSupportMixin, with_callbacks
from ..numerics.threads import single_thread
from ..numerics.types import Array, Auto, RandomState
from ..numerics.warn import warn_caller
from ..problem.error_model import ErrorModel
from ..training.fit import fit
from ..training.passes import partial_fit
from ..training.progress import FitTask
from .adapt_method import AdaptMethod
from .all_or_nothing import all_or_nothing
from .architecture import CONSTRAINTS, training_specification
from .calibrated import calibrated_problem
from .doc_link import DocLink
from .early_stopping import set_aside_for
from .fitted import fitted_attributes, trained_of
from .lazy import chunkwise
from .many_pairs import sampled_pairs
from .map_methods import MapMethods
from .operator_parameter import OperatorParameter
from .persistence import StoredState
from .posterior_methods import PosteriorMethods
from .score_method import ScoreMethod
from .validation import (
    can_measure,
    check_measurements,
    check_ready,
    training_pairs,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BaseINN"]

_FAR = 2  # times as far out as the signals of the training


class BaseINN(
    OperatorParameter,
    StoredState,
    AdaptMethod,
    MapMethods,
    PosteriorMethods,
    ScoreMethod,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    OwnModes,
    DocLink,
    BaseEstimator,
):
    """Base of the estimators; a subclass names its ``loss``.

    The parameters and fitted attributes are those of :class:`skinvbayes.ApproximationINN`.

    Attributes
    ----------
    loss : type of Loss
        Class attribute: the loss to train with, a subclass of :class:`skinvbayes.losses.Loss`.
    problem_ : InverseProblem
        What the pairs say about the problem: the operator A, the forward map G, the noise level,
        the bandwidth and the coordinates the network works in.

    Examples
    --------
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.estimators import BaseINN
    >>> from skinvbayes.losses import ApproximationLoss
    >>> class LightlyHeldINN(BaseINN):
    ...     class loss(ApproximationLoss):
    ...         decay = 1.0
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> estimator = LightlyHeldINN(max_iter=20, random_state=0).fit(problem.X, problem.Y)
    >>> estimator.predict(problem.Y).shape
    (200, 2)
    """

    loss: type[Loss] = Loss

    _parameter_constraints = CONSTRAINTS
    get_feature_names_out = own_modes()(ClassNamePrefixFeaturesOutMixin.get_feature_names_out)

    def __init__(
        self,
        *,
        operator: Any = None,
        noise_level: ArrayLike | Auto = "auto",
        noise_covariance: ArrayLike | None = None,
        prior_bandwidth: float | Auto = "auto",
        residual: str | type[ResidualBlock] = "gradient",
        n_blocks: int = 1,
        hidden_layer_sizes: int | tuple[int, ...] | Auto = "auto",
        n_pieces: int | Auto = "auto",
        image_shape: tuple[int, ...] | None = None,
        kernel_size: int = 7,
        lipschitz: float = 0.999,
        solver: str = "auto",
        max_iter: int = 200,
        tol: float = 1e-5,
        batch_size: int | Auto = "auto",
        learning_rate_init: float | Auto = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        device: str | torch.device = "cpu",
        random_state: RandomState = None,
        verbose: bool | int = False,
    ):
        self.operator = operator
        self.noise_level = noise_level
        self.noise_covariance = noise_covariance
        self.prior_bandwidth = prior_bandwidth
        self.residual = residual
        self.n_blocks = n_blocks
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_pieces = n_pieces
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = not can_measure(self)
        tags.target_tags.multi_output = True
        tags.target_tags.two_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.non_deterministic = False
        return tags

    @property
    def _n_features_out(self):
        return self.n_features_in_

    @all_or_nothing
    @with_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> "Self":
        """Learn the forward map and the reconstruction from pairs.

        Signals are enough where operator and noise are given: measurements are then drawn.

        An interrupt from the keyboard ends the training and leaves a usable estimator with what it
        had learned. Where joblib runs this fit as one of many, in a search or an ensemble, it is
        raised and ends them all. A fit that raises leaves the estimator as it was.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,), default=None
            Measurements, in the units of ``A`` times those of X; with an operator that is given,
            NaN where one is missing. None where operator and noise level (or covariance) are given.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each pair counts beside the others; only ratios matter. Equal pairs count as
            one that has the sum of their weights.
        X_val : array-like of shape (n_val, n_features), default=None
            Signals for early stopping, in place of a part of the others. In a Pipeline,
            ``transform_input=["X_val"]`` scales them as X.
        y_val : array-like of shape (n_val, n_measurements) or (n_val,), default=None
            Their measurements.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.
        groups : array-like of shape (n_samples,), default=None
            Pairs of one group, such as those of one signal, are set aside together.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If shapes, values or parameters do not fit, or the loss is not finite at the start.

        Warns
        -----
        ConvergenceWarning
            If training diverged or was interrupted and the best weights so far were restored, or if
            the loss was still falling when it ended.
        UserWarning
            If held-out pairs were not reconstructed better than by the linear minimum mean square
            error (LMMSE) estimator, which is then what the estimator is.
            If ``operator=None`` falls back to "estimate": see the parameter.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), groups)

    @all_or_nothing
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> "Self":
        """Continue training with one pass of Adam over new pairs.

        The step size of the k-th pass is ``learning_rate_init / √k``, where ``fit`` counts as
        ``max_iter`` passes, and less where it would raise the loss of the pairs.

        Operator, units, noise level, epsilon and bandwidth are learned from the pairs of the first
        call (or of ``fit``), which should be representative.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,), default=None
            Measurements, as in :meth:`fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each pair counts beside the others, as in :meth:`fit`.

        Returns
        -------
        self : estimator
            The estimator; the mean loss of this pass is the last of ``loss_curve_``.
        """
        previous = None
        if hasattr(self, "network_"):
            check_ready(self)
            previous = self._trained()
        pairs, _ = training_pairs(self, X, y, sample_weight, previous=previous)
        with single_thread():
            trained = partial_fit(training_specification(self), pairs, previous=previous)
        return self._take(trained)

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> Array: ...
    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[Array, Array]: ...
    @chunkwise
    def predict(self, X: ArrayLike, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Reconstruct signals from measurements: ``φ⁻¹(Aᵀ y)``, or ``φ⁻¹(y)`` without an operator.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_measurements) or (n_samples,)
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
        return self._predict(X, return_std, None)

    # ------------------------------------------------------------------------- what is fitted

    def _fit(self, X, y, sample_weight, validation, groups):
        pairs, groups, chunks = sampled_pairs(self, X, y, sample_weight, groups)
        set_aside = set_aside_for(self, *validation, groups)
        metadata = {} if sample_weight is None else {"metadata": {"sample_weight": sample_weight}}
        task = FitTask(self, self.max_iter, X=X, y=y, **metadata)
        previous = self._trained() if self.warm_start and hasattr(self, "network_") else None

        def report(stopped):
            return task.iterate(lambda: self._attributes(stopped()))

        known = {"chunks": chunks, "previous": previous}
        known |= {"set_aside": set_aside, "report": report}
        with single_thread():
            trained = fit(training_specification(self), pairs, **known)
        self._take(trained)
        self.problem_ = calibrated_problem(self, pairs.X)
        task.end()
        return self

    def _take(self, trained):
        """Take over the result of a training as the fitted attributes."""
        vars(self).update(self._attributes(trained))
        return self

    def _attributes(self, trained):
        """All attributes that the result of a training gives."""
        return fitted_attributes(trained) | {"_given_operator": self.operator, "_origin": None}

    def _trained(self):
        """A copy of the fitted attributes as the result of a training, to go on with."""
        return trained_of(self)

    def _map(self, noise_level=None):
        """The trained map in the user's units."""
        if noise_level is None:
            problem = self.problem_
            return TrainedMap(self.network_, problem.coordinates, problem.unit_epsilon)
        raise ValueError(
            "Only DivergenceRegularizedINN reconstructs for another noise level than that of its "
            f"training ({self.noise_level_:.4g}); {type(self).__name__} has to be fitted again."
        )

    def _z_map(self):
        """The trained map, for those who give or take points of z-space."""
        return self._map()

    _measurement_names_known = True  # false of estimators for other measurements than the fit's
    _reads_missing = False  # whether predict takes NaN for a missing measurement
    _takes_nonlinear = False  # whether the operator may be nonlinear

    def _posterior(self, Y, noise_level=None):
        """The posterior for measurements."""
        Y = check_measurements(self, Y, allow_missing=self._reads_missing)
        return self._checked_posterior(Y, noise_level)

    def _checked_posterior(self, Y, noise_level=None):
        """The posterior for checked rows."""
        return self._complete_posterior(Y, noise_level)

    def _complete_posterior(self, Y, noise_level):
        """The posterior for checked rows of which no measurement is missing."""
        problem, network = self.problem_, self.network_.config
        map_ = self._map(noise_level)
        smooth = self.prior_bandwidth_ > 0 and branch_of(network["residual"]).learns_smoothed_prior
        # The last stage has less jitter but does not undo the smoothing of the first: 90 %
        # intervals of the reconstruction loss on digits cover 91 % with the first bandwidth, and
        # 96 % with the last.
        bandwidth = problem.bandwidth if smooth else 0.0
        error_model = ErrorModel.of(problem, bandwidth, noise_level)
        return Posterior(
            *(Y, map_, error_model, problem.targets, problem.signal_std, problem.is_outside),
            caveat=self._caveat(noise_level),
            grid_shape=network["block_options"].get("image_shape"),
            error_quantiles=problem.error_quantiles if noise_level is None else None,
        )

    def _predict(self, Y, return_std, noise_level):
        """The reconstruction, with its standard deviation if that is asked for."""
        with reporting(self):
            posterior = self._posterior(Y, noise_level)
            with_std = check_flag(return_std, "return_std")
            self._tell_what_is_outside(posterior.mean)
            return (posterior.mean, posterior.std()[0]) if with_std else posterior.mean

    def _tell_what_is_outside(self, X):
        """Warn of reconstructions where nothing was learned."""
        outside = np.flatnonzero(self.problem_.is_outside(X, _FAR))
        if len(outside):
            warn_caller(
                f"The reconstructions of {len(outside)} of {len(X)} rows ({named_rows(outside)}) "
                f"are more than {_FAR} times as far from the mean as any signal of the training, "
                "where nothing was learned: do not rely on them, or train with such signals."
            )

    def _caveat(self, noise_level):
        """A warning for everyone who asks for the uncertainty; empty if there is none."""
        return ""
