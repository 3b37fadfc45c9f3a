"""The inverse problem: what the pairs, the operator and the noise say before training."""

from .coordinates import Coordinates
from .inverse_problem import InverseProblem

__all__ = ["Coordinates", "InverseProblem"]
