"""Inverse problems to learn on: pairs of signals and measurements, with what made them.

Every problem is a :class:`sklearn.utils.Bunch` with these keys:

* ``X`` and ``Y``, signals of shape (n_samples, n_features) and their measurements of shape
  (n_samples, n_measurements), row by row; or ``X_train``, ``Y_train``, ``X_test`` and ``Y_test``,
  where the problem comes with pairs to train and pairs to test;
* ``operator``, what the ``operator`` parameter of the estimators takes for this problem;
* ``noise_level``, the standard deviation δ of the Gaussian noise in the measurements, or one for
  each; where a ``noise_covariance`` was given, that, and the root mean square of the deviations;
* ``DESCR``, a sentence that says where the signals come from and how they are measured;
* ``image_shape``, where signals are flattened images or profiles;
* what this problem alone has, such as its ``prior``; its docstring lists it.
"""

from .bimodal import bimodal_prior, make_bimodal
from .digits import load_deblurring_digits
from .heat import make_backward_heat
from .ill_posed import make_ill_posed
from .mixture import make_mixture
from .photos import load_photos
from .sensor import make_saturating_sensor
from .tomography import make_tomography

__all__ = [
    "bimodal_prior",
    "load_deblurring_digits",
    "load_photos",
    "make_backward_heat",
    "make_bimodal",
    "make_ill_posed",
    "make_mixture",
    "make_saturating_sensor",
    "make_tomography",
]
