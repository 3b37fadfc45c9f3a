"""The inverse of an invertible map, with a residual for every sample."""

from .implicit import implicit_inverse
from .invert import Inversion, invert
from .invertible import InvertibleMap
from .preimages import Preimages

__all__ = ["InvertibleMap", "Inversion", "Preimages", "implicit_inverse", "invert"]
