"""The modes of torch and numpy in which the package computes, whatever those of the caller."""

from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import isfunction
from typing import Any

import numpy as np
import torch

from .shared import SharedContext

__all__ = ["OwnModes", "own_modes"]

_NUMPY_DEFAULTS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_AUTOCASTING = "cpu", "cuda", "xpu"  # device types with float64 that torch.autocast knows
_STATE_METHODS = "__getstate__", "__setstate__"


@contextmanager
def own_modes():
    """Compute in the package's own modes; those of the caller hold again afterwards.

    Inside, tensors are ordinary ones, also below ``torch.inference_mode``; nothing is recorded for
    derivatives (what differentiates enables that itself); ``torch.autocast`` is off; products of
    float32 matrices are not rounded to fewer digits; and numpy warns of errors as it does by
    default. All but the rounding of products belongs to the thread that asks. The default dtype of
    torch belongs to all threads and is left alone, as is the default device: the package gives
    dtype and device of every tensor it makes.
    """
    with ExitStack() as stack:
        stack.enter_context(np.errstate(**_NUMPY_DEFAULTS))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_full_precision)
        for device_type in filter(torch.is_autocast_enabled, _AUTOCASTING):
            stack.enter_context(torch.autocast(device_type, enabled=False))
        yield


class OwnModes:
    """Base class whose subclasses run their public methods, and those of pickle, in own modes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, method in list(vars(cls).items()):
            if name in _STATE_METHODS or not name.startswith("_"):
                if isfunction(method):
                    setattr(cls, name, _in_own_modes(method))
                elif isinstance(method, classmethod):
                    setattr(cls, name, classmethod(_in_own_modes(method.__func__)))


def _in_own_modes(method):
    """The method in :func:`own_modes`."""

    @wraps(method)
    def run(*args, **kwargs):
        with own_modes():
            return method(*args, **kwargs)

    return run


class _FullPrecision(SharedContext):
    """Products of float32 matrices in float32, where torch was asked for fewer digits."""

    _given = "highest"

    def set(self):
        try:
            self._given = torch.get_float32_matmul_precision()
        except RuntimeError:  # a precision of each backend was set, which has no common name
            self._given = "highest"
        if self._given != "highest":
            torch.set_float32_matmul_precision("highest")

    def restore(self):
        if self._given != "highest":
            torch.set_float32_matmul_precision(self._given)


_full_precision = _FullPrecision()
