"""Inverse problems to learn on: pairs of signals and measurements, with what made them."""

from .bimodal import bimodal_prior, make_bimodal
from .digits import load_deblurring_digits
from .heat import make_backward_heat
from .photos import load_photos
from .sensor import make_saturating_sensor
from .tomography import make_tomography

__all__ = [
    "bimodal_prior",
    "load_deblurring_digits",
    "load_photos",
    "make_backward_heat",
    "make_bimodal",
    "make_saturating_sensor",
    "make_tomography",
]
