"""Refusing complex numbers, and saying how real ones stand for them."""

import numpy as np

__all__ = ["refuse_complex_data", "refuse_complex_operator"]


def refuse_complex_data(values, name):
    """Raise a ValueError if signals or measurements are complex.

    Parameters
    ----------
    values : array-like
        What was given; what is no array is left to the checks that follow.
    name : str
        What it is called in the message.
    """
    if _is_complex(values):
        raise ValueError(
            f"Complex data not supported: {name} is complex. Stack the real and the imaginary "
            f"parts side by side, np.hstack([{name}.real, {name}.imag]), and those of an operator "
            "in the same way: np.vstack([A.real, A.imag]) maps real signals to such measurements."
        )


def refuse_complex_operator(values):
    """Raise a ValueError if an operator, its dtype or its product with a real vector is complex."""
    if _is_complex(values):
        raise ValueError(
            "operator must be a matrix of real numbers, or map real vectors to real vectors; got "
            "complex numbers. Stack the real and the imaginary parts. For real signals, the rows "
            "of a matrix are np.vstack([A.real, A.imag]); products with a LinearOperator of m rows "
            "are np.concatenate([(A @ x).real, (A @ x).imag]) and those with the adjoint "
            "(A.H @ (y[:m] + 1j * y[m:])).real. For complex signals the matrix is "
            "np.block([[A.real, -A.imag], [A.imag, A.real]])."
        )


def _is_complex(values):
    if isinstance(values, np.dtype):
        return values.kind == "c"
    try:
        has_objects = getattr(values, "dtype", None) == np.dtype(object)  # whose entries tell
        return np.iscomplexobj(values.tolist() if has_objects else values)
    except (RuntimeError, TypeError, ValueError):
        return False  # ragged lists, for example
