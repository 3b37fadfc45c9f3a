"""Networks and their training as plain arrays, and the versions that may exchange them."""

from importlib.metadata import version as installed_version

import numpy as np
import torch

from ..networks import IResNet

__all__ = [
    "check_version",
    "pack_generator",
    "pack_network",
    "pack_optimizer",
    "unpack_generator",
    "unpack_network",
    "unpack_optimizer",
    "version",
]


def version():
    """Version of this package."""
    return installed_version("skinvbayes")


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
    if not isinstance(stored, str) or stored.split(".")[:2] != version().split(".")[:2]:
        raise ValueError(
            f"This state of {name} was written by version {stored} of skinvbayes, and this is "
            f"{version()}. Install that version to load it, or fit again."
        )


def pack_network(network):
    """The network as a dict of its configuration and of named arrays, on the CPU."""
    arrays = {name: _to_array(value) for name, value in network.state_dict().items()}
    return {"config": network.config, "arrays": arrays}


def unpack_network(packed, device, known):
    """The network from :func:`pack_network`, on its device if that is here, else on the CPU.

    Raises
    ------
    ValueError
        If the arrays do not fit the configuration.
    """
    network = IResNet(**packed["config"], known=known).to(torch.float64)
    arrays = {name: _to_tensor(value) for name, value in packed["arrays"].items()}
    try:
        network.load_state_dict(arrays)
    except RuntimeError as error:
        raise ValueError(f"The stored network does not fit its configuration: {error}") from error
    return network.to(device if _is_here(device) else "cpu")


def pack_optimizer(optimizer):
    """Adam as a dict of its step size and of the named arrays it keeps for each parameter."""
    (group,) = optimizer.param_groups
    moments = [
        {name: _to_array(value) for name, value in optimizer.state[parameter].items()}
        for parameter in group["params"]
    ]
    return {"learning_rate": group["lr"], "moments": moments}


def unpack_optimizer(packed, network):
    """Adam from :func:`pack_optimizer`, for the parameters of a network."""
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=packed["learning_rate"])
    for parameter, moments in zip(parameters, packed["moments"], strict=True):
        on_device = {name: _to_tensor(value) for name, value in moments.items()}
        for name in on_device.keys() - {"step"}:
            on_device[name] = on_device[name].to(parameter.device)
        optimizer.state[parameter] = on_device
    return optimizer


def pack_generator(generator):
    """The state of a random number generator as an array."""
    return _to_array(generator.get_state())


def unpack_generator(packed):
    """The generator from :func:`pack_generator`."""
    generator = torch.Generator()
    generator.set_state(_to_tensor(packed))
    return generator


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
