"""The inverse of an invertible map, with a residual for every sample."""

from .implicit import implicit_inverse
from .invert import Inversion, invert
from .invertible import InvertibleMap

__all__ = ["InvertibleMap", "Inversion", "implicit_inverse", "invert"]
