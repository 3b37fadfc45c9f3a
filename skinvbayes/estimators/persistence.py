"""Storing estimators as plain data, which later versions read by upgrades."""

import re
from inspect import Parameter, signature

import numpy as np
import torch

from .._version import __version__
from ..networks.explicit_inverse import build_network
from ..numerics.devices import is_usable
from ..numerics.modes import OwnModes
from ..training.adam import Adam
from ..training.trained import Continuation
from .stored_parts import pack_parts, unpack_parts
from .stored_sizes import check_network_sizes, check_problem_shapes

__all__ = ["FORMAT", "StoredState", "check_version", "pack_state", "unpack_state"]

FORMAT = 4  # of the states; whoever changes what is in them raises it, and adds to _UPGRADES
_OLDEST = 0, 2  # version whose states can be read


class StoredState(OwnModes):
    """Pickling of an estimator with the version and the format of its state.

    The state holds arrays, numbers, dicts and what the user gave: no object of torch, and of this
    package only operators, so that its modules may be moved and its classes changed. Files of an
    older format are upgraded when they are loaded; parameters that are younger than the file get
    their default values.
    """

    def __getstate__(self):
        state = pack_state(dict(super().__getstate__()))
        return state | {"_skinvbayes_version": __version__, "_skinvbayes_format": FORMAT}

    def __setstate__(self, state):
        name = type(self).__name__
        if not isinstance(state, dict):
            raise ValueError(f"This is no state of {name}, but {type(state).__name__}.")
        state = dict(state)
        version = state.pop("_skinvbayes_version", None)
        check_version(version, name)
        unpacked = unpack_state(state, state.pop("_skinvbayes_format", 1))
        super().__setstate__(self._default_parameters() | unpacked)

    @classmethod
    def _default_parameters(cls):
        parameters = signature(cls.__init__).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        return {name: value for name, value in defaults.items() if value is not Parameter.empty}


def pack_state(state):
    """The attributes of an estimator, as plain arrays, numbers and dicts.

    Parameters
    ----------
    state : dict
        Attributes, by their names.

    Returns
    -------
    packed : dict
        The same attributes, without objects of torch or of private classes.
    """
    if "network_" not in state:
        return state
    network = {
        "network_": _pack_network(state["network_"]),
        "_continuation": _pack_continuation(state["_continuation"]),
    }
    return _pack_parts(state) | network


def unpack_state(packed, stored_format=FORMAT):
    """The attributes from :func:`pack_state`, on their device if that is here, else on the CPU.

    Parameters
    ----------
    packed : dict
        The packed attributes.
    stored_format : int, default=FORMAT
        Their format; older ones are upgraded first.

    Raises
    ------
    ValueError
        If the arrays of the network do not fit its configuration, or something is missing.
    """
    if "network_" not in packed:
        return packed
    if stored_format not in [*_UPGRADES, FORMAT]:
        raise ValueError(
            f"The stored estimator has the format {stored_format!r}, and this version reads up to "
            f"{FORMAT}: install the version that wrote it, or fit again."
        )
    try:
        for number in range(stored_format, FORMAT):
            packed = _UPGRADES[number](packed)
        problem, origin = unpack_parts([packed["problem_"], packed.get("_origin")])
        trained = origin[0] if origin else problem
        n_signal = packed["n_features_in_"]
        check_problem_shapes(problem, n_signal)
        check_problem_shapes(trained, trained.coordinates.n_features)  # of images of another size
        known = trained.unit_forward
        network = _unpack_network(packed["network_"], packed["device"], known, n_signal)
        continuation = _unpack_continuation(packed["_continuation"], network)
        unknown_stage = {"training_stages_": [(None, packed["n_iter_"])]}  # of older versions
    except (AttributeError, LookupError, MemoryError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"The stored estimator is incomplete or damaged ({error!r}): store it again, or fit "
            "again."
        ) from error
    unpacked = {"network_": network, "problem_": problem, "_continuation": continuation}
    return unknown_stage | packed | unpacked | ({"_origin": origin} if origin else {})


def _pack_parts(state):
    parts = pack_parts([state["problem_"], state.get("_origin")])
    names = "problem_", "_origin"
    return state | {name: part for name, part in zip(names, parts, strict=True) if name in state}


def _second_format(state):
    """Format 1 had objects of this package, and did not count the passes of ``partial_fit``."""
    return _pack_parts(state) | {"_continuation": state["_continuation"] | {"n_passes": 0}}


def _third_format(state):
    """Format 2 had the same quantiles of errors for all standard deviations."""

    def renewed(problem):
        pooled = problem.get("error_quantiles")
        if pooled is None:
            return problem
        grouped = {"kind": "error quantiles", "std": np.ones(1), "ratios": pooled[None]}
        return problem | {"error_quantiles": grouped}

    origin = state.get("_origin")
    others = {} if origin is None else {"_origin": (renewed(origin[0]), *origin[1:])}
    return state | {"problem_": renewed(state["problem_"])} | others


def _fourth_format(state):
    """Of the third one, which knew no other weight of the prior than epsilon."""
    return state | {"_prior_weight": 1.0}


# from each format to the next one
_UPGRADES = {1: _second_format, 2: _third_format, 3: _fourth_format}


def check_version(stored, name):
    """Refuse a state that this version cannot read.

    Parameters
    ----------
    stored : str or None
        The version in the state.
    name : str
        Class of the estimator.

    Raises
    ------
    ValueError
        If it is older than the first one whose states can be upgraded, newer than this version, or
        no version; the message says what to do.
    """
    start = f"This state of {name} was written by version {stored} of skinvbayes"
    number = _minor(stored)
    if number is None:
        raise ValueError(
            f"{start}: it is damaged, or no state of this package. Store it again, or fit again."
        )
    minor = ".".join(map(str, number))
    if number > _minor(__version__):
        raise ValueError(
            f"{start}, which is newer than this one, {__version__}. Install version {minor} or a "
            "later one to load it."
        )
    if number < _OLDEST:
        raise ValueError(
            f"{start}, whose networks this one, {__version__}, cannot read. Fit again, or install "
            f"version {minor} to load it."
        )


def _minor(version):
    """Major and minor version as numbers, None if there are none."""
    found = re.match(r"(\d+)\.(\d+)", version) if isinstance(version, str) else None
    return tuple(map(int, found.groups())) if found else None


def _pack_network(network):
    """The network as a dict of its configuration and of named arrays, on the CPU."""
    arrays = {name: _to_array(value) for name, value in network.state_dict().items()}
    return {"config": network.config, "arrays": arrays}


def _unpack_network(packed, device, known, n_signal):
    config = packed["config"]
    check_network_sizes(config, packed["arrays"], n_signal)
    known = known if config["known_bounds"] is not None else None
    network = build_network(config, known=known).to(torch.float64)
    arrays = {name: _to_tensor(value) for name, value in packed["arrays"].items()}
    try:
        network.load_state_dict(arrays)
    except RuntimeError as error:
        raise ValueError(f"The stored network does not fit its configuration: {error}") from error
    return network.to(device if is_usable(device) else "cpu")


def _pack_continuation(continuation):
    optimizer = continuation.optimizer
    return {
        "generator": _to_array(continuation.generator.get_state()),
        "optimizer": None if optimizer is None else _pack_optimizer(optimizer),
        "n_seen": continuation.n_seen,
        "n_passes": continuation.n_passes,
    }


def _unpack_continuation(packed, network):
    generator, optimizer = torch.Generator(), packed["optimizer"]
    generator.set_state(_to_tensor(packed["generator"]))
    if optimizer is not None:
        optimizer = _unpack_optimizer(optimizer, network)
    return Continuation(generator, optimizer, packed["n_seen"], packed["n_passes"])


def _pack_optimizer(optimizer):
    """Adam as a dict of its step size and of the named arrays it keeps for each parameter."""
    moments = [
        {name: _to_array(value) for name, value in of_one.items()} for of_one in optimizer.moments
    ]
    return {"learning_rate": optimizer.learning_rate, "moments": moments}


def _unpack_optimizer(packed, network):
    """Adam from :func:`_pack_optimizer`, for the parameters of a network."""
    moments = [
        {name: _to_tensor(value) for name, value in of_one.items()} for of_one in packed["moments"]
    ]
    return Adam(network.parameters(), packed["learning_rate"], moments)


def _to_array(tensor):
    return tensor.cpu().numpy().copy()


def _to_tensor(array):
    return torch.from_numpy(np.array(array))
