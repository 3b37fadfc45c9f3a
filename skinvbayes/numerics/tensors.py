"""Tensors from arrays, and what tensors are made with before there is anything to be like."""

from typing import Any

import numpy as np
import torch

__all__ = ["INITIAL", "as_tensor", "identity_like", "white_like"]

# Networks are built in single precision on the CPU, whatever torch's defaults; they move later.
INITIAL: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}


def as_tensor(array):
    """A Tensor on the CPU that shares the memory of an array, or of a copy if it is read-only.

    Torch has no read-only tensors, and warns of a tensor that shares read-only memory. Arrays of
    models that were loaded with ``mmap_mode="r"``, or handed to workers by joblib, are read-only.

    Parameters
    ----------
    array : ndarray
        The numbers.
    """
    return torch.from_numpy(array if array.flags.writeable else np.array(array))


def identity_like(n, like):
    """The identity matrix of n rows, with dtype and device of a tensor."""
    return torch.eye(n, dtype=like.dtype, device=like.device)


def white_like(shape, like, generator):
    """White noise, with dtype and device of a tensor; a seed gives the same on every device."""
    white = torch.randn(shape, dtype=like.dtype, generator=generator, device="cpu")
    return white.to(like.device)
