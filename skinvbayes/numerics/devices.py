"""Devices that can compute in double precision."""

import torch

__all__ = ["check_device", "is_usable"]

_REFUSALS = AssertionError, NotImplementedError, RuntimeError, TypeError  # as torch raises them


def check_device(device):
    """Refuse a device that is not here, or has no double precision.

    Parameters
    ----------
    device : str or torch.device
        As the parameter of the estimators.

    Raises
    ------
    ValueError
        With what the device lacks, and what to take in its place.
    """
    try:
        _compute(torch.float64, device)
    except _REFUSALS as error:
        raise ValueError(f"device={str(device)!r} {_lack(device)}") from error


def is_usable(device):
    """Whether a device is here and has double precision."""
    try:
        _compute(torch.float64, device)
    except _REFUSALS:
        return False
    return True


def _lack(device):
    """What a device without double precision lacks, the end of a sentence."""
    try:
        _compute(torch.float32, device)
    except _REFUSALS:
        return (
            "cannot be used: torch can compute nothing on it, on this machine. Take "
            'device="cpu", or a device that torch finds here.'
        )
    return (
        "has no double precision (float64), which reconstructions and their certificates need. "
        'Take device="cpu", or a GPU that has it ("cuda").'
    )


def _compute(dtype, device):
    torch.ones((), dtype=dtype, device=device).item()
