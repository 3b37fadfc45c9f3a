"""The measurement y = A x + c + n, n ~ N(0, Σ): operator and noise, given or told from pairs."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import diags_array, issparse
from scipy.sparse.linalg import aslinearoperator

from ..noise.missing import missing_patterns
from ..noise.model import NoiseModel
from ..noise.outliers import describe_outliers, outliers, refitted
from ..numerics.warn import warn_caller
from ..operators import Operator, as_operator, estimate_operator
from ..operators.rows import common_rows
from .dependence import dependence_of_mean, dependence_of_size
from .measurement import as_denoising, choose_operator, estimate_noise_level
from .moments import covariance_of

__all__ = ["MeasurementModel"]

_MOST_MEASUREMENTS = 1000  # beyond, noise is taken to be white unless it is given
_ROUNDING, _OF_A_FIT = 1e-13, 1e-6  # of the size of y, that rounding and a ridge leave
_CLEAN_FIT = 1e-8  # of the size of y, that a ridge leaves of clean measurements
_MOST_PRECISE = 10.0  # times more precise than the median measurement that one may count,
_PRECISE = 0.03  # where its noise is less than this share of its signals
_ROWS_PER_MEASUREMENT = 10  # complete rows that tell how noise is correlated
_FEWEST_ROWS = 10  # from which on residuals tell more than a level
_MISFIT = 0.5  # share of the residuals that signals explain where another operator was meant


@dataclass(frozen=True, eq=False)
class MeasurementModel:
    """How signals are measured.

    Attributes
    ----------
    operator : Operator or None
        The operator A; None for the original problem, z = y.
    fitted : Operator or None
        The least-squares fit of y to x; None where the operator was given.
    noise : NoiseModel
        The noise n.
    offset : ndarray of shape (n_measurements,) or None
        The constant c; None for zero.
    rejects_outliers : bool
        Whether readings that cannot be Gaussian are told from others, and do not count.
    """

    operator: Operator | None
    fitted: Operator | None
    noise: NoiseModel
    offset: np.ndarray | None = None
    rejects_outliers: bool = False

    @classmethod
    def by(cls, operator, n_features):
        """The measurement of signals by an operator, of which the noise is not known yet.

        Raises
        ------
        ValueError
            If the operator does not fit.
        """
        operator = as_operator(operator)
        operator = choose_operator(operator, None, n_features, operator.shape[0])
        return cls(operator, None, NoiseModel(operator.shape[0], 0.0))

    @classmethod
    def from_pairs(cls, operator, noise_level, noise_covariance, X, Y, weight):
        """What pairs and parameters say, and the measurements without outliers.

        Parameters
        ----------
        operator, noise_level, noise_covariance
            The parameters of the estimators.
        X : ndarray of shape (n_samples, n_features)
            Signals.
        Y : ndarray of shape (n_samples, n_measurements)
            Measurements; with an operator that is given, NaN where one is missing.
        weight : ndarray of shape (n_samples,)
            How often each pair counts.

        Returns
        -------
        model : MeasurementModel
        Y : ndarray of shape (n_samples, n_measurements)
            The measurements; readings that cannot be Gaussian are replaced by what the signals
            explain. The same array where there are none.

        Warns
        -----
        UserWarning
            If there are such readings, with their number and place; if a linear model does not
            explain the measurements; if the operator is needed but not given.
        """
        given = operator is not None and not isinstance(operator, str)
        missing = np.isnan(Y)
        if missing.any():
            known = choose_operator(operator, None, X.shape[1], Y.shape[1])
            Y = _completed(known, noise_level, noise_covariance, X, Y, weight)
        fitted = None if given else estimate_operator(X, Y, sample_weight=weight)
        sizes = X.shape[1], Y.shape[1]
        known = choose_operator(operator, None, *sizes) if given else fitted
        noise, clean, rejects_outliers = _noise_and_clean(
            known, fitted, noise_level, noise_covariance, X, Y, weight, missing
        )
        noise = _balanced(noise, known, X, weight)
        if fitted is not None and clean is not Y:
            known = fitted = estimate_operator(X, clean, sample_weight=weight)
        if not given:
            pairs = X, clean, weight
            known = choose_operator(operator, fitted, *sizes, pairs=pairs)
        if known is None and noise.kind != "white":
            known = fitted
            warn_caller(
                f"The noise of the measurements is {noise.kind}, so that they are not weighted "
                "equally: the least-squares fit of y to X is used as the operator of the normal "
                'equation. Give operator="estimate" to do so without this warning, or the operator.'
            )
        if known is None and X.shape[1] <= _MOST_MEASUREMENTS:
            fitted = as_denoising(fitted, covariance_of(X, weight))
        linear = fitted if known is None else known
        offset = np.average(clean - linear.forward(X), axis=0, weights=weight)
        return cls(known, fitted, noise, offset, rejects_outliers), clean

    def with_noise_of(self, other):
        """The same model with the noise of another one, if these are some of its measurements.

        Otherwise, and where one of them is repeated, it is white, of the level of the other's.
        """
        rows = common_rows(self.given, other.given)
        if rows is not None and rows.min() >= 0 and len(np.unique(rows)) == len(rows):
            return replace(self, noise=other.noise.restricted(rows))
        return replace(self, noise=NoiseModel(self.noise.n_measurements, other.noise.level))

    def with_constants_of(self, other):
        """The same model with the constants of another one for rows that both operators have.

        Other measurements have none; a UserWarning tells if those of the other model are large.
        """
        rows = common_rows(self.given, other.given)
        if other.offset is None:
            return replace(self, offset=None)
        # those of a nonlinear operator are what a linear fit leaves
        if (rows is None or rows.min() < 0) and other.given is other.operator:
            _warn_of_constants(other)
        return replace(
            self, offset=None if rows is None else np.where(rows < 0, 0.0, other.offset[rows])
        )

    def with_moments(self, moments):
        """The same model with the operator and the constant that moments of all pairs tell."""
        fitted = None if self.fitted is None else moments.least_squares()
        if self.operator is None:
            fitted = as_denoising(fitted, moments.signal_covariance)
        operator = fitted if self.operator is self.fitted else self.operator
        linear = fitted if operator is None else operator
        offset = self.offset
        if offset is not None:
            offset = moments.measurement_mean - linear.forward(moments.signal_mean[None])[0]
        return replace(self, operator=operator, fitted=fitted, offset=offset)

    def without_outliers(self, X, Y):
        """Measurements with what the signals explain where a reading cannot be Gaussian."""
        linear = self.fitted if self.operator is None else self.operator
        explained = linear.forward(X) + (0 if self.offset is None else self.offset)
        return np.where(outliers(Y - explained, self.noise), explained, Y)

    def is_clean(self, X, Y):
        """Whether rounding alone is what the signals X leave unexplained of the measurements Y."""
        if self.fitted is not None and len(X) <= max(X.shape[1] + 1, _FEWEST_ROWS):
            return False  # a fit explains so few pairs whatever their noise
        rounding = _ROUNDING if self.fitted is None else _CLEAN_FIT
        return self.noise.level <= rounding * np.abs(Y).max()

    @property
    def given(self):
        """The operator as it was given, of nonlinear measurements not the A of training."""
        return self.operator

    def linearized(self, X, Y):
        """Measurements Y of signals X by the operator A, whatever measured them."""
        return Y

    def target_mean(self, signal_mean):
        """The z of a signal without noise, of shape (n_features,)."""
        return self.targets(self.predicted(signal_mean[None]))[0]

    def predicted(self, X):
        """A x + c for every row, where there is an operator."""
        image = self.operator.forward(X)
        return image if self.offset is None else image + self.offset

    def drawn(self, X, rng):
        """Measurements of signals, with noise from a RandomState."""
        return self.image(X) + self.noise.drawn(len(X), rng)

    def image(self, X):
        """What is measured of signals without noise, whatever measures them."""
        return self.predicted(X)

    @cached_property
    def whitened(self):
        """W A, of measurements W y whose noise is white; None without an operator."""
        if self.operator is None or self.noise.kind == "white":
            return self.operator
        base, whitener = self.operator.base, self.noise.whitener
        if isinstance(base, np.ndarray) or (issparse(base) and whitener.ndim == 1):
            return Operator(self.noise.whitened_matrix(base))
        whitener = whitener if whitener.ndim == 2 else diags_array(whitener)
        return Operator(aslinearoperator(whitener) @ aslinearoperator(base))

    def targets(self, Y):
        """z of shape (n_samples, n_features): the measurements, or AᵀW² y."""
        return Y if self.operator is None else self.whitened.adjoint(self.noise.whiten(Y))


def _warn_of_constants(trained):
    """Warn if measurements have constants above their noise, which some others do not keep."""
    if (np.abs(trained.offset) > trained.noise.std).any():
        warn_caller(
            f"The measurements of the training have a constant of up to "
            f"{np.abs(trained.offset).max():.3g}, above their noise. Only rows that are the same "
            "in the matrix of the other operator keep theirs; that of all others is taken to be "
            "zero: subtract it from the measurements if they have one."
        )


def _completed(operator, noise_level, noise_covariance, X, Y, weight):
    """Measurements with what the signals explain, and drawn noise, where one is missing.

    The noise is drawn given that of the other measurements of the row.
    """
    missing, image = np.isnan(Y), operator.forward(X)
    empty = np.flatnonzero(missing.all(axis=0))
    if len(empty):
        raise ValueError(
            f"Measurement {empty[0]} is missing (NaN) in every pair: leave it out, and its row of "
            "the operator."
        )
    counted = np.where(missing, 0, weight[:, None])
    residual = np.where(missing, 0, Y - image)
    offset = (counted * residual).sum(axis=0) / counted.sum(axis=0)
    residual = np.where(missing, 0, residual - offset)
    covariance = _observed_covariance(noise_level, noise_covariance, residual, counted)
    white, drawn = np.random.RandomState(0).standard_normal(Y.shape), residual.copy()
    for rows, kept in missing_patterns(Y):
        if kept.all():
            continue
        mixed = covariance[np.ix_(~kept, kept)]
        gain = np.linalg.lstsq(covariance[np.ix_(kept, kept)], mixed.T, rcond=None)[0].T
        rest = covariance[np.ix_(~kept, ~kept)] - gain @ mixed.T
        values, axes = np.linalg.eigh((rest + rest.T) / 2)
        noise = white[np.ix_(rows, ~kept)] @ (axes * np.sqrt(values.clip(0))).T
        drawn[np.ix_(rows, ~kept)] = residual[np.ix_(rows, kept)] @ gain.T + noise
    return np.where(missing, image + offset + drawn, Y)


def _observed_covariance(noise_level, noise_covariance, residual, counted):
    """The covariance of the noise, from all that is observed of it."""
    if noise_covariance is not None:
        return np.asarray(noise_covariance, dtype=np.float64)
    variances = (counted * residual**2).sum(axis=0) / counted.sum(axis=0)
    if not isinstance(noise_level, str):
        return np.diag(np.broadcast_to(np.asarray(noise_level, dtype=float) ** 2, variances.shape))
    complete = (counted > 0).all(axis=1)
    if np.count_nonzero(complete) < _ROWS_PER_MEASUREMENT * len(variances):
        return np.diag(variances)
    return NoiseModel.estimated(residual[complete], counted[complete, 0], 1).covariance


def _balanced(noise, operator, X, weight):
    """Noise of which no measurement is far more precise than most, relative to its signals.

    A network could not learn what one measurement tells exactly beside what all others tell.
    """
    if noise.kind == "white":
        return noise
    image = operator.forward(X)
    deviations = image - np.average(image, axis=0, weights=weight)
    signal = np.sqrt(np.average(deviations**2, axis=0, weights=weight))
    share = noise.std / np.where(signal > 0, signal, np.inf)
    informed = share[share > 0]
    least = min(np.median(informed) / _MOST_PRECISE, _PRECISE) if len(informed) else 0.0
    factor = np.where(share > 0, np.maximum(1, least / np.where(share > 0, share, 1)), 1)
    if (factor == 1).all():
        return noise
    return NoiseModel.given(
        noise_covariance=noise.covariance * np.outer(factor, factor),
        n_measurements=noise.n_measurements,
    )


def _noise_and_clean(operator, fitted, noise_level, noise_covariance, X, Y, weight, missing):
    """The noise, the measurements without outliers, and whether these can be told.

    What was missing is none.
    """
    n_measurements = Y.shape[1]
    automatic = isinstance(noise_level, str)
    if automatic and noise_covariance is None:
        level = estimate_noise_level(operator, fitted, X, Y, weight)
        noise = NoiseModel(n_measurements, level)
    else:
        level = None if automatic else noise_level
        noise = NoiseModel.given(level, noise_covariance, n_measurements=n_measurements)
    white = noise
    rounding = (_ROUNDING if fitted is None else _OF_A_FIT) * np.abs(Y).max(axis=0)
    few = len(X) < _FEWEST_ROWS or noise.level <= rounding.max()
    if n_measurements > _MOST_MEASUREMENTS or few:
        return noise, Y, False
    residual, regressors = _residual(operator, fitted, X, Y, weight)
    if regressors.shape[1] > len(X) / 2:
        return noise, Y, False
    if automatic and noise_covariance is None:
        arguments = residual, weight, regressors.shape[1], regressors, rounding
        noise = NoiseModel.estimated(*arguments)
    noisy = np.sqrt(np.average(residual**2, axis=0, weights=weight)) > rounding
    if not noisy.any():
        return noise, Y, False
    known = X, operator.forward(X)[:, noisy], weight, regressors
    mean, mask = dependence_of_mean(residual[:, noisy], *known), np.zeros(Y.shape, dtype=bool)
    if not mean.is_possible:
        residual, mask = _outliers_left_out(residual, noise, weight, regressors, missing)
    size = dependence_of_size(np.where(mask, 0.0, residual)[:, noisy], *known)
    if mean.is_possible or size.is_possible:
        if fitted is not None:
            _warn_of_dependence(mean, size)
        elif mean.is_evident and mean.share > _MISFIT:
            _warn_of_operator(mean)
        return white, Y, False
    if not mask.any():
        return noise, Y, True
    warn_caller(
        f"{describe_outliers(mask)} cannot be Gaussian noise of standard deviation "
        f"{noise.level:.3g}: they are replaced by what the signals explain. Leave them out, or "
        "give a larger noise_level if they are right."
    )
    return noise, np.where(mask, Y - residual, Y), True


def _residual(operator, fitted, X, Y, weight):
    """Residuals of the linear model, and what it fits to every measurement."""
    residual = Y - operator.forward(X)
    residual -= np.average(residual, axis=0, weights=weight)
    regressors = np.ones((len(X), 1))
    if operator is fitted:
        varying = X[:, np.ptp(X, axis=0) > 0]
        regressors = np.hstack([regressors, varying - varying.mean(axis=0)])
    return residual, regressors


def _outliers_left_out(residual, noise, weight, regressors, missing):
    """Residuals of the fit without outliers, and where these are; what was missing is none."""
    mask = outliers(residual, noise) & ~missing
    if mask.any():
        residual = refitted(residual, mask, weight, regressors)
        mask = outliers(residual, noise) & ~missing
    return residual, mask


def _warn_of_operator(mean):
    """Warn that an operator that was given is not the one that measured."""
    warn_caller(
        f"X explains {mean.share:.0%} of the residuals y - A x of the operator A that was given: "
        "these pairs were measured by another one. Check its units and the order of its rows and "
        "columns; a scaler before the estimator changes both units."
    )


def _warn_of_dependence(mean, size):
    """Warn if the residuals evidently depend on the signals, and of what that means."""
    # noise that depends on the signals makes the mean vary more by chance
    if mean.is_evident and mean.share > size.share / 2:
        warn_caller(
            "The residuals of the linear fit of y to X depend on X: the map from signals to "
            "measurements does not look linear, and the estimators assume that it is. Give the "
            "operator if you know it, or transform the measurements to a linear scale."
        )
    elif size.is_evident:
        warn_caller(
            "The noise of the measurements depends on the signals: the residuals of the linear fit "
            "of y to X are larger for some X than for others, and the estimators assume that they "
            "are not. Transform the measurements to a scale on which the noise is even, if the map "
            "is linear there too; uncertainties are otherwise those of the mean noise level."
        )
