"""Tensors from arrays, and what tensors are made with before there is anything to be like."""

from typing import Any

import numpy as np
import torch

__all__ = ["INITIAL", "as_arrays", "as_tensor", "as_tensors", "identity_like", "white_like"]

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


def as_tensors(*arrays, dtype):
    """Tensors of this dtype from arrays, whose memory they share, or from numbers; a tuple."""
    return tuple(as_tensor(np.asarray(array, dtype)) for array in arrays)


def as_arrays(*tensors):
    """The arrays that share the memory of tensors on the CPU; numbers stay as they are."""
    return [t.detach().numpy() if isinstance(t, torch.Tensor) else t for t in tensors]


def identity_like(n, like):
    """The identity matrix of n rows, with dtype and device of a tensor."""
    return torch.eye(n, dtype=like.dtype, device=like.device)


def white_like(shape, like, generator):
    """White noise, with dtype and device of a tensor; a seed gives the same on every device."""
    white = torch.randn(shape, dtype=like.dtype, generator=generator, device="cpu")
    return white.to(like.device)
