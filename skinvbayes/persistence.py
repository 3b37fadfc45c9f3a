"""Networks as plain arrays, and the versions of the package that may exchange them."""

from importlib.metadata import version as installed_version

import numpy as np
import torch

from .networks import IResNet

__all__ = ["check_version", "pack_network", "unpack_network", "version"]


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
    arrays = {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}
    return {"config": network.config, "arrays": arrays}


def unpack_network(packed, device):
    """The network from :func:`pack_network`, on its device if that is here, else on the CPU.

    Raises
    ------
    ValueError
        If the arrays do not fit the configuration.
    """
    network = IResNet(**packed["config"]).to(torch.float64)
    arrays = {name: torch.from_numpy(np.array(value)) for name, value in packed["arrays"].items()}
    try:
        network.load_state_dict(arrays)
    except RuntimeError as error:
        raise ValueError(f"The stored network does not fit its configuration: {error}") from error
    on_gpu = torch.device(device).type == "cuda"
    return network.to("cpu" if on_gpu and not torch.cuda.is_available() else device)
