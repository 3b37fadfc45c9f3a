"""Parameters that are operators: large, and perhaps of a kind that cannot be copied."""

import copy
from numbers import Real

from sklearn.base import BaseEstimator

__all__ = ["OperatorParameter", "ShortRepr"]


class ShortRepr:
    """An estimator that prints the shape of a matrix in place of its entries."""

    def __repr__(self, N_CHAR_MAX=700):
        return BaseEstimator.__repr__(_printable(self), N_CHAR_MAX)


class OperatorParameter(ShortRepr):
    """An estimator with a parameter ``operator``."""

    def __sklearn_clone__(self):
        without = object.__new__(type(self))
        vars(without).update(vars(self), operator=None)
        cloned = super(OperatorParameter, without).__sklearn_clone__()
        cloned.operator = _copied(self.operator)
        return cloned

    def __deepcopy__(self, memo):
        memo[id(self.operator)] = _copied(self.operator)
        other = object.__new__(type(self))
        other.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return other


def _copied(operator):
    """A copy of an operator; the operator itself, if it holds a lock or an open file."""
    try:
        return copy.deepcopy(operator)
    except Exception:  # of the user's code
        return operator


class _Summary:
    """What is printed in place of a matrix: its shape and its type."""

    def __init__(self, shape, matrix):
        self.text = f"<{tuple(shape)} {type(matrix).__name__}>"

    def __repr__(self):
        return self.text


def _printable(value):
    """What scikit-learn prints in place of a parameter or an estimator: the same without matrices.

    Its printer asks an estimator for ``get_params``, and takes line breaks only where the method
    ``__repr__`` is its own.
    """
    if isinstance(value, BaseEstimator):
        params = {name: _printable(part) for name, part in value.get_params(deep=False).items()}
        methods = {"__init__": type(value).__init__, "get_params": lambda self, deep: params}
        return object.__new__(type(type(value).__name__, (BaseEstimator,), methods))
    if hasattr(value, "shape") and "\n" in repr(value):
        return _Summary(value.shape, value)
    if type(value) not in (list, tuple):
        return value
    if value and all(map(_is_row, value)):
        return _Summary((len(value), len(value[0])), value)
    return type(value)(map(_printable, value))


def _is_row(value):
    return isinstance(value, (list, tuple)) and all(isinstance(part, Real) for part in value)
