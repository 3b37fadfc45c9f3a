"""The operator of an inverse problem: it maps rows, and has an adjoint, or a Jacobian."""

from .linear import GramOperator, Operator, as_operator, check_adjoint, estimate_operator
from .nonlinear import NonlinearOperator, as_nonlinear_operator, check_jacobian

__all__ = [
    "GramOperator",
    "NonlinearOperator",
    "Operator",
    "as_nonlinear_operator",
    "as_operator",
    "check_adjoint",
    "check_jacobian",
    "estimate_operator",
]
