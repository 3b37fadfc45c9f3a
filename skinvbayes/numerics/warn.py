"""Warnings that point at the line of the user's code that called the package."""

import sys
import warnings
from pathlib import Path

import joblib
import sklearn

__all__ = ["warn_caller"]

# A public method may be called through scikit-learn and joblib: wrappers, searches, pipelines.
_OURS = Path(__file__).parent
_INSIDE = tuple(str(Path(m.__file__).parent) for m in (joblib, sklearn)) + (str(_OURS.parent),)


def warn_caller(message, category=UserWarning):
    """Warn at the first line up the stack that is neither in this package nor in scikit-learn.

    Parameters
    ----------
    message : str
        What happened, and what to change.
    category : type of Warning, default=UserWarning
        Kind of the warning.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


def _is_inside(file):
    return file.startswith(_INSIDE) or file.endswith(("contextlib.py", "functools.py"))
