"""The estimators' method for other measurements than those of the training."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from ..numerics.modes import OwnModes
from ..training.fit import resized
from .architecture import n_pixels, training_specification
from .measurement_names import check_operator_names, forget_measurement_names
from .validation import check_ready

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AdaptMethod"]


class AdaptMethod(OwnModes):
    """The method ``adapt``.

    The class that inherits it defines ``_trained()`` and ``_take(trained)``; where its loss learns
    the prior by itself, also ``_measuring(operator, noise_level, noise_covariance, constant)``.
    """

    _holds_prior = False  # whether the loss learns the prior by itself

    def adapt(
        self,
        *,
        operator: Any = None,
        noise_level: ArrayLike | None = None,
        noise_covariance: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> "Self":
        """The same prior for other measurements; nothing is trained.

        Only the divergence loss learns the prior by itself. The map for the operator A and the
        weight ε is ``φ(x) = AᵀA x − ε ∇log p(x)``, so that the one for the operator B and the noise
        level δ is ``BᵀB x + δ²/ε (φ(x) − AᵀA x)``: its inverse is the MAP estimate for these
        measurements. Where ε was not the squared noise level in training, its ratio to that is
        kept. Any loss serves images of another size with ``residual="conv"``: the filters are the
        same at every pixel, so that what was learned from small patches reconstructs whole images.

        Parameters
        ----------
        operator : linear operator of shape (n_measurements, n_features), default=None
            The operator B, perhaps nonlinear; that of this estimator by default. Measurements by
            rows of the training's matrix keep their constants, others have none, with a warning.
            Other losses than the divergence need an operator of the same kind as in training.
        noise_level : float or array-like of shape (n_measurements,), default=None
            Standard deviation of the noise, of all measurements or of each; by default that of this
            estimator, for an operator of other rows than its own the root mean square.
        noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
            The covariance of the noise, in place of the noise level.
        image_shape : tuple of one or two int, default=None
            Height and width of images of another size; the operator is then needed.

        Returns
        -------
        estimator : estimator
            A fitted copy, for predictions. Where its map is not monotone, ``predict`` names the
            rows in a ConvergenceWarning.

        Raises
        ------
        ValueError
            If operator, noise or images do not fit, or if the loss does not serve them.

        Examples
        --------
        >>> import numpy as np
        >>> from skinvbayes import DivergenceRegularizedINN
        >>> from skinvbayes.datasets import make_mixture
        >>> data = make_mixture(500, 5, n_features=3, operator="tall")
        >>> estimator = DivergenceRegularizedINN(operator=data.operator, random_state=0)
        >>> estimator = estimator.fit(data.X_train, data.Y_train)
        >>> other = estimator.adapt(operator=np.eye(3), noise_level=0.1)
        >>> other.predict(data.X_test).shape
        (5, 3)
        """
        given = {"operator": operator, "image_shape": image_shape}
        given |= {"noise_level": noise_level, "noise_covariance": noise_covariance}
        return self._copy_with(given)

    def _copy_with(self, given, constant=None):
        """The copy for what is given, by the names of the parameters, and perhaps a constant."""
        check_ready(self)
        given = {name: value for name, value in given.items() if value is not None}
        operator, image_shape = given.get("operator"), given.get("image_shape")
        check_operator_names(self, operator)
        noise = {name: given.get(name) for name in ("noise_level", "noise_covariance")}
        noise_follows = bool(given.keys() & noise.keys())
        other, is_measured_otherwise = self, True
        if image_shape is not None:
            other, operator = self._at_image_shape(image_shape, operator, noise_follows), None
            now = other.problem_.unit_bounds
            trained = other.network_.config["known_bounds"] or now
            is_measured_otherwise = noise_follows or not np.isclose(now[0], trained[0])
        if is_measured_otherwise:
            other = other._measuring(operator, **noise, constant=constant)
        other.set_params(**given)
        other._given_operator = other.operator
        if given.keys() & {"operator", "image_shape"}:
            forget_measurement_names(other)
        return other

    def _at_image_shape(self, image_shape, operator, noise_follows):
        """A fitted copy for images of another size."""
        if operator is None:
            raise ValueError("Images of another size need their own operator: give operator.")
        other = clone(self).set_params(image_shape=image_shape, operator=operator)
        other.n_features_in_ = n_pixels(image_shape, self.n_features_in_)
        known = {"keeps_prior": self._holds_prior, "noise_follows": noise_follows}
        other._take(resized(training_specification(other), self._trained(), **known))
        other.n_measurements_in_ = other.operator_.shape[0]
        return other

    def _measuring(self, operator, noise_level, noise_covariance, constant):
        """A fitted copy for another operator or other noise."""
        raise ValueError(
            f"{type(self).__name__} learns the reconstruction for the operator and the noise of "
            "its training, and not the prior by itself, so that it cannot be adapted to others: "
            "fit it again, or adapt a DivergenceRegularizedINN."
        )
