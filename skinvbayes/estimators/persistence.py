"""Storing estimators: networks as plain arrays, for the version that wrote them."""

import numpy as np
import torch

from .._version import __version__
from ..networks.explicit_inverse import build_network
from ..training.trained import Continuation

__all__ = ["check_version", "pack_state", "unpack_state"]


def pack_state(state):
    """The attributes of an estimator, with plain arrays for the network and its training.

    Parameters
    ----------
    state : dict
        Attributes, by their names.

    Returns
    -------
    packed : dict
        The same attributes, without objects of torch.
    """
    if "network_" not in state:
        return state
    packed = {
        "network_": _pack_network(state["network_"]),
        "_continuation": _pack_continuation(state["_continuation"]),
    }
    return state | packed


def unpack_state(packed):
    """The attributes from :func:`pack_state`, on their device if that is here, else on the CPU.

    Raises
    ------
    ValueError
        If the arrays of the network do not fit its configuration, or something is missing.
    """
    if "network_" not in packed:
        return packed
    try:
        trained_on, _ = packed.get("_origin") or (packed["problem_"], None)
        known = trained_on.unit_forward
        network = _unpack_network(packed["network_"], packed["device"], known)
        continuation = _unpack_continuation(packed["_continuation"], network)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"The stored estimator is incomplete or damaged ({error!r}): store it again, or fit "
            "again."
        ) from error
    return packed | {"network_": network, "_continuation": continuation}


def check_version(stored, name):
    """Refuse a state that another version wrote.

    Parameters
    ----------
    stored : str or None
        The version in the state.
    name : str
        Class of the estimator.

    Raises
    ------
    ValueError
        If major or minor version differ, or there is none.
    """
    if not isinstance(stored, str) or stored.split(".")[:2] != __version__.split(".")[:2]:
        raise ValueError(
            f"This state of {name} was written by version {stored} of skinvbayes, and this is "
            f"{__version__}. Install that version to load it, or fit again."
        )


def _pack_network(network):
    """The network as a dict of its configuration and of named arrays, on the CPU."""
    arrays = {name: _to_array(value) for name, value in network.state_dict().items()}
    return {"config": network.config, "arrays": arrays}


def _unpack_network(packed, device, known):
    config = packed["config"]
    known = known if config["known_bounds"] is not None else None
    network = build_network(config, known=known).to(torch.float64)
    arrays = {name: _to_tensor(value) for name, value in packed["arrays"].items()}
    try:
        network.load_state_dict(arrays)
    except RuntimeError as error:
        raise ValueError(f"The stored network does not fit its configuration: {error}") from error
    return network.to(device if _is_here(device) else "cpu")


def _pack_continuation(continuation):
    optimizer = continuation.optimizer
    return {
        "generator": _to_array(continuation.generator.get_state()),
        "optimizer": None if optimizer is None else _pack_optimizer(optimizer),
        "n_seen": continuation.n_seen,
    }


def _unpack_continuation(packed, network):
    generator, optimizer = torch.Generator(), packed["optimizer"]
    generator.set_state(_to_tensor(packed["generator"]))
    if optimizer is not None:
        optimizer = _unpack_optimizer(optimizer, network)
    return Continuation(generator, optimizer, packed["n_seen"])


def _pack_optimizer(optimizer):
    """Adam as a dict of its step size and of the named arrays it keeps for each parameter."""
    (group,) = optimizer.param_groups
    moments = [
        {name: _to_array(value) for name, value in optimizer.state[parameter].items()}
        for parameter in group["params"]
    ]
    return {"learning_rate": group["lr"], "moments": moments}


def _unpack_optimizer(packed, network):
    """Adam from :func:`_pack_optimizer`, for the parameters of a network."""
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=packed["learning_rate"])
    for parameter, moments in zip(parameters, packed["moments"], strict=True):
        on_device = {name: _to_tensor(value) for name, value in moments.items()}
        for name in on_device.keys() - {"step"}:
            on_device[name] = on_device[name].to(parameter.device)
        optimizer.state[parameter] = on_device
    return optimizer


def _to_array(tensor):
    return tensor.cpu().numpy().copy()


def _to_tensor(array):
    return torch.from_numpy(np.array(array))


def _is_here(device):
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError):
        return False
    return True
