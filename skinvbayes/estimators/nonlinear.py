"""What an estimator that holds the prior does with a nonlinear operator."""

from ..inference.nonlinear import LearnedPrior, NonlinearMap, NonlinearPosterior
from ..problem.nonlinear_measurement import NonlinearMeasurement, measurement_by

__all__ = ["NonlinearMeasurements"]


class NonlinearMeasurements:
    """Posteriors by the Gauss–Newton method, for estimators with the fitted ``_origin``."""

    _takes_nonlinear = True

    def _measurement_by(self, operator):
        """The measurement by another operator; its noise is not known yet."""
        return measurement_by(
            operator, self.n_features_in_, lambda: self._learned_prior().signals()
        )

    def _complete_posterior(self, Y, noise_level):
        posterior, measurement = super()._complete_posterior(Y, noise_level), self._nonlinear
        if measurement is None:
            return posterior
        map_ = NonlinearMap(self._learned_prior(), measurement, self._epsilon_at(noise_level))
        return NonlinearPosterior.around(map_, posterior)

    @property
    def _nonlinear(self):
        """The measurement, if it is by a nonlinear operator; else None."""
        measurement = self.problem_.measurement
        return measurement if isinstance(measurement, NonlinearMeasurement) else None

    def _learned_prior(self):
        """The prior that the network holds."""
        problem, epsilon = self._origin or (self.problem_, self.epsilon_)
        if epsilon == 0:
            raise ValueError("With epsilon = 0 there is no prior in the network: give noise_level.")
        forward = problem.unit_forward_of(self.network_)
        known = forward, problem.coordinates, epsilon, problem.signal_std
        return LearnedPrior(self.network_, *known)

    def _z_map(self):
        if self._nonlinear is None:
            return super()._z_map()
        raise ValueError(
            "With a nonlinear operator there is no z-space: no linear map takes the measurements y "
            "to points z that say as much of the signal. predict(Y) reconstructs, operator_(X) "
            "measures, and prior_score(X) is the score of the prior."
        )
