"""The inverse of an invertible map, with a residual for every sample."""

from .invert import Inversion, implicit_inverse, invert

__all__ = ["Inversion", "implicit_inverse", "invert"]
