"""What the pairs say about the inverse problem, before a network sees it."""

import numbers
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from ..noise.model import NoiseModel
from ..numerics.chunks import chunk_size, slices
from ..operators import Operator, as_operator
from .coordinates import Coordinates
from .error_quantiles import ErrorQuantiles
from .gaussian import gaussian_precision, linear_precision, without_last_bits
from .measurement import check_size, choose_operator, residuals_are_white
from .measurement_model import MeasurementModel
from .moments import covariance_of
from .shrinkage import shrunk_covariance
from .smoothing import noise_of_a_feature, repeats
from .tensor_operator import TensorOperator
from .weighted_mixture import WeightedMixture

__all__ = ["InverseProblem", "Policy", "check_pairs"]


_DECIMALS = 9  # of what is of unit scale in natural coordinates: beyond them is rounding


class Policy(NamedTuple):
    """What the branch and the loss decide about a problem.

    Attributes
    ----------
    bandwidth_rule : callable
        What "auto" means for the bandwidth, see :mod:`skinvbayes.problem.smoothing`.
    smoothing : float
        Share of this bandwidth that is taken; less than one for losses without a score.
    common_mean : bool
        Whether all features share one mean, as pixels do.
    natural : bool
        Whether the coordinates are the natural ones, of matrices; else they are isotropic.
    reconstructs : bool
        See :meth:`InverseProblem.renewed`.
    max_condition : float
        Largest ratio of slopes that the network can hold.
    """

    bandwidth_rule: Callable[..., float]
    smoothing: float
    common_mean: bool
    natural: bool
    reconstructs: bool
    max_condition: float


@dataclass
class InverseProblem:
    """An inverse problem in signal space: z = G x + noise, with z = Aᵀy, or z = y without A.

    Attributes
    ----------
    measurement : MeasurementModel
        The operator A, and the noise of the measurements.
    forward : Operator of shape (n_features, n_features)
        The forward map G: AᵀW²A, with the W that makes the noise white, or the least-squares fit
        of y to x in the original problem.
    bandwidth : float
        Standard deviation of the Gaussian that smooths the prior, in the units of x.
    coordinates : Coordinates
        The coordinates of signals and targets that the network works in.
    signal_std : ndarray of shape (n_features,)
        Standard deviations of the signals' features.
    reach : float
        Largest root mean square of the coordinates of a signal.
    noise_is_white : bool
        Whether the noise can be drawn afresh; found out where a training may ask.
    is_adapted : bool
        Whether the coordinates are those of other measurements.
    error_quantiles : ErrorQuantiles or None
        Quantiles of held-out errors over their standard deviations; None where errors count as
        Gaussian.
    clusters : WeightedMixture or None
        The prior whose score the network has learned, in its coordinates, where it was drawn from a
        mixture.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> data = make_bimodal(500, noise_level=0.3, random_state=0)
    >>> problem = DivergenceRegularizedINN(max_iter=5, random_state=0).fit(data.X, data.Y).problem_
    >>> bool(abs(problem.forward.to_dense() - np.eye(2)).max() < 0.1)
    True
    """

    measurement: MeasurementModel
    forward: Operator
    bandwidth: float
    coordinates: Coordinates
    signal_std: np.ndarray
    reach: float = np.inf
    noise_is_white: bool = False
    is_adapted: bool = False
    error_quantiles: ErrorQuantiles | None = None
    clusters: WeightedMixture | None = None

    @classmethod
    def from_pairs(cls, X, Y, weight, *, measurement, epsilon, bandwidth, policy, random_state):
        """Derive the problem from weighted pairs and the estimators' parameters.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Signals.
        Y : ndarray of shape (n_samples, n_measurements)
            Measurements.
        weight : ndarray of shape (n_samples,)
            How often each pair counts.
        measurement : MeasurementModel
            How they were measured.
        epsilon, bandwidth
            As the parameters ``epsilon`` and ``prior_bandwidth``.
        policy : Policy
            What branch and loss decide.
        random_state : RandomState instance
            Source of the sample that decides on the bandwidth.

        Raises
        ------
        ValueError
            If the signals do not vary, if something is too large or too small to compute with, or
            if the operator does not fit.
        """
        operator, noise_level = measurement.whitened, measurement.noise.level
        forward = measurement.fitted if operator is None else operator.normal()
        norm = forward.norm()
        if not isinstance(bandwidth, numbers.Real):
            known = {"X": X, "weight": weight, "random_state": random_state}
            known |= {"forward": forward, "forward_norm": norm}
            known["information"] = _information(operator, forward)
            known |= {"noise_level": noise_level}
            known |= {"max_condition": np.inf if policy.natural else policy.max_condition}
            bandwidth = _automatic_bandwidth(policy.bandwidth_rule, policy.smoothing, known)
        Z = measurement.targets(Y)
        coordinates = Coordinates.isotropic(X, Z, weight, norm=norm)
        if policy.common_mean:
            coordinates = coordinates.with_common_mean(forward)
            measurement = replace(measurement, offset=None)  # what pixels share has no constants
        signal_std = np.sqrt(np.average((X - coordinates.signal_mean) ** 2, 0, weight))
        problem = cls(measurement, forward, float(bandwidth), coordinates, signal_std)
        if policy.reconstructs or (policy.natural and operator is None):
            A = measurement.fitted if operator is None else operator
            residual = measurement.noise.whiten(Y) - A.forward(X)
            problem.noise_is_white = residuals_are_white(residual, X, weight)
        renewal = {"epsilon": epsilon, "reconstructs": policy.reconstructs}
        return problem.renewed(X, Y, weight, **renewal) if policy.natural else problem

    def with_moments(self, moments):
        """The same problem with what moments of all pairs say, where it was told from some.

        Parameters
        ----------
        moments : Moments
            Of all pairs, completed as by :meth:`completed`.
        """
        measurement = self.measurement.with_moments(moments)
        operator = measurement.whitened
        forward = measurement.fitted if operator is None else operator.normal()
        signal_std = np.sqrt(moments.signal_covariance.diagonal().clip(0))
        return replace(self, measurement=measurement, forward=forward, signal_std=signal_std)

    def renewed(self, X, Y, weight, *, epsilon, reconstructs, moments=None):
        """The same problem in the natural coordinates of pairs.

        Parameters
        ----------
        X, Y, weight
            The pairs, as in :meth:`from_pairs`.
        moments : Moments, default=None
            Those of all pairs, if X and Y are some of them.
        epsilon : "auto" or float
            Weight of the penalty; "auto" is the variance of the noise.
        reconstructs : bool
            Whether the identity is the linear estimator where z = y, and not G + ε C⁻¹.
        """
        epsilon = 0 if epsilon == "auto" else epsilon
        weights = epsilon or self.noise_level**2, self.bandwidth
        exact = symmetric_part(self.forward)
        if moments is not None:
            covariance = moments.signal_covariance
        elif self.measurement.fitted is not None:
            covariance = covariance_of(X, weight)  # G knows nothing outside of their span either
        else:
            known = () if self.operator is None else (exact, self.noise_level**2)
            covariance = shrunk_covariance(X, weight, *known)
        norm, G = 1.0, exact
        if reconstructs and self.operator is None:
            precision = linear_precision(covariance, self.forward.to_dense(), *weights)
        else:
            norm, G, *weights = without_last_bits(covariance, G, *weights)
            precision = gaussian_precision(covariance, G, *weights)
        options = {"forward": G, "precision": precision, "exact": exact / norm, "norm": norm}
        coordinates = Coordinates.natural(X, self.targets(Y), weight, **options)
        if moments is not None:
            target_mean = self.targets(moments.measurement_mean[None])[0]
            coordinates = coordinates.with_moments(moments.signal_mean, target_mean, covariance)
        reach = float(np.sqrt((coordinates.from_signals(X) ** 2).mean(axis=1).max()))
        return replace(self, coordinates=coordinates, reach=reach)

    def resized(self, operator, n_features, *, noise_follows=False):
        """The same problem for another operator and number of features that share one mean.

        The noise is white, of the same level; ``noise_follows`` says that another one takes its
        place. Without that, noise that is not white raises a ValueError.
        """
        operator = as_operator(operator)
        operator = choose_operator(operator, None, n_features, operator.shape[0])
        forward, noise = operator.normal(), self.measurement.noise
        if noise.kind != "white" and not noise_follows:
            raise ValueError(
                f"The noise of the training measurements is {noise.kind}, which says nothing about "
                f"the noise of {operator.shape[0]} other measurements: give noise_level or "
                "noise_covariance. Only white noise is the same for images of another size."
            )
        noise = NoiseModel(operator.shape[0], noise.level)
        return replace(
            self,
            measurement=MeasurementModel(operator, None, noise),
            forward=forward,
            coordinates=self.coordinates.with_common_mean(forward),
            signal_std=np.full(n_features, np.sqrt((self.signal_std**2).mean())),
        )

    def order(self, Y):
        """Rows in an order that no linear change of the measurements or signals alters."""
        return np.argsort(self.coordinates.from_targets(self.targets(Y))[:, 0], kind="stable")

    def completed(self, pairs, random_state=0):
        """Pairs with what the signals explain, and noise, where a measurement is missing.

        Of a nonlinear operator they are made those of the linear one that stands for it. Readings
        that cannot be Gaussian are replaced, unless the noise seems to depend on the signals.

        Parameters
        ----------
        pairs : Pairs
            Pairs; without any measurements these are drawn.
        random_state : int or RandomState instance, default=0
            Source of what is drawn.
        """
        model, rng = self.measurement, check_random_state(random_state)
        if pairs.Y.shape[1] == 0:
            return pairs._replace(Y=model.linearized(pairs.X, model.drawn(pairs.X, rng)))
        Y = model.linearized(pairs.X, pairs.Y)
        missing = np.isnan(Y)
        if missing.any():
            drawn = model.predicted(pairs.X) + model.noise.drawn(len(pairs.X), rng)
            Y = np.where(missing, drawn, Y)
        return pairs._replace(Y=model.without_outliers(pairs.X, Y) if model.rejects_outliers else Y)

    def adapted(self, measurement):
        """The same signals, measured otherwise; the coordinates of the signals stay.

        Parameters
        ----------
        measurement : MeasurementModel
            With an operator.
        """
        mean = measurement.target_mean(self.coordinates.signal_mean)
        return replace(
            self,
            measurement=measurement,
            forward=measurement.whitened.normal(),
            coordinates=replace(self.coordinates, target_mean=mean),
            is_adapted=True,
            error_quantiles=None,
        )

    def is_outside(self, X, factor=1.0):
        """Whether signals lie so much farther out than all of the training, (n_samples,)."""
        outside = np.empty(len(X), dtype=bool)
        for rows in slices(len(X), chunk_size(self.coordinates.n_features)):
            u = self.coordinates.from_signals(np.asarray(X[rows], dtype=np.float64))
            outside[rows] = np.sqrt((u**2).mean(axis=1)) > factor * self.reach
        return outside

    @property
    def operator(self):
        """W A, the operator of measurements with white noise; None for the original problem."""
        return self.measurement.whitened

    @property
    def noise_level(self):
        """Standard deviation δ of the noise of y, or of that of W y."""
        return self.measurement.noise.level

    @property
    def feature_noise(self):
        """The noise of a feature in its units, where all are measured alike."""
        return noise_of_a_feature(self.forward, self.noise_level)

    @property
    def unit_forward(self):
        """G̃, the map from u to the mean of w, for tensors."""
        return self._tensor_operator(rounded=True)

    @property
    def exact_unit_forward(self):
        """The same in double precision, where nothing is trained."""
        return self._tensor_operator(rounded=False)

    def unit_forward_of(self, network):
        """The same as it is to be taken from a trained network: as the network has it inside."""
        return self.unit_forward if network.knows_forward else self.exact_unit_forward

    def _tensor_operator(self, rounded):
        if self.coordinates.isotropic_norm is not None:
            return TensorOperator(self.forward, self.coordinates.isotropic_norm, rounded)
        unit = as_operator(self._unit_map(self.forward.to_dense()))
        return TensorOperator(unit, 1.0, rounded)

    @property
    def unit_information(self):
        """What the measurements tell about each natural coordinate: the diagonal of G̃, an array."""
        information = np.diagonal(self._unit_map(self.forward.to_dense())).clip(0, 1)
        return np.float32(information)

    @property
    def unit_bounds(self):
        """Bounds of the spectrum of AᵀA in isotropic coordinates."""
        norm = self.forward.norm()
        bounds = self.forward.lowest(norm), norm
        return tuple(b / self.coordinates.isotropic_norm for b in bounds)

    @property
    def unit_epsilon(self):
        """The variance δ² of the noise in these coordinates, the Bayesian weight of a penalty."""
        return self.coordinates.unit_weight(self.noise_level**2)

    @property
    def unit_noise(self):
        """A matrix M with which ξ Mᵀ is the noise of w, for white noise ξ."""
        covariance = np.eye(self.coordinates.n_features)
        if self.operator is not None:
            covariance = symmetric_part(self.forward)
        variances, axes = np.linalg.eigh(self._unit_map(covariance))
        root = (axes * np.sqrt(variances.clip(0))) @ axes.T
        return self.noise_level / self.coordinates.scale * root

    def _unit_map(self, matrix):
        """Bᵀ M B; the G of the normal equation is diagonal in these coordinates, exactly."""
        unit = self.coordinates.unit_map(matrix)
        is_diagonal = self.operator is not None and not self.is_adapted
        return np.diag(np.diagonal(unit).round(_DECIMALS)) if is_diagonal else unit

    @property
    def information(self):
        """AᵀA, the Fisher information of a measurement times δ²: G, or GᵀG where G is A."""
        return _information(self.operator, self.forward)

    def targets(self, Y):
        """z of shape (n_samples, n_features): the measurements, or Aᵀ y."""
        return self.measurement.targets(Y)

    def forward_targets(self, X):
        """G x plus the constant that maps the mean of the signals to that of the targets."""
        coordinates = self.coordinates
        return coordinates.target_mean + self.forward.forward(X - coordinates.signal_mean)

    def clean_targets(self, X):
        """The targets of a linear problem without noise: G x plus a constant."""
        if self.operator is None:
            return self.forward_targets(X)
        return self.targets(self.measurement.predicted(X))

    @property
    def unit_constant(self):
        """What G̃ u lacks of w without noise, of shape (n_features,): its value for u = 0."""
        coordinates = self.coordinates
        of_mean = coordinates.from_targets(self.clean_targets(coordinates.signal_mean[None]))
        return of_mean[0].round(_DECIMALS)

    def unit_clean_targets(self, X):
        """Targets w without noise; on natural axes without the rounding of any other."""
        coordinates = self.coordinates
        if coordinates.isotropic_norm is not None:
            return coordinates.from_targets(self.clean_targets(X))
        unit = self._unit_map(self.forward.to_dense())
        return coordinates.from_signals(X) @ unit.T + self.unit_constant

    def noisy_targets(self, Z, n_copies, rng):
        """Clean targets with fresh noise, of shape (n_copies, n_samples, n_features)."""
        white = rng.standard_normal((n_copies, *Z.shape))
        noise = self.coordinates.to_target_noise(white @ self.unit_noise.T)
        return Z + noise


def _information(operator, forward):
    """AᵀA from the operator A or None, and the forward map."""
    return forward.normal() if operator is None else forward


def _automatic_bandwidth(rule, share, known):
    """A share of what a rule says; without a score, repeated signals are the prior itself."""
    if share < 1 and repeats(known["X"], known["weight"]):
        return 0.0
    return share * rule(**known)


def symmetric_part(operator):
    """The symmetric part of an operator, an ndarray."""
    matrix = operator.to_dense()
    return (matrix + matrix.T) / 2


def check_pairs(X, Y, operator):
    """Raise a ValueError if pairs are too large or small, or tell of no forward map."""
    check_size("the signals X", np.abs(X).max())
    check_size("the measurements y", np.nanmax(np.abs(Y)))
    spread = np.ptp(X, axis=0).max()
    check_size("the differences of the signals X", spread)
    if spread == 0:
        raise ValueError(
            f"The signals X of the {len(X)} distinct pair(s) that count are all the same, so "
            "that no forward map can be learned: give signals that vary."
        )
    is_given = operator is not None and not isinstance(operator, str)
    if not is_given and np.ptp(Y, axis=0).max() == 0:
        raise ValueError(
            f"The measurements y of the {len(Y)} distinct pair(s) that count are all the same, so "
            "that no forward map can be learned from them: give the operator, or measurements that "
            "vary."
        )
