"""What an estimator knows of its problem, as plain dicts: private classes stay out of the files."""

from dataclasses import fields

from ..noise.model import NoiseModel
from ..problem.coordinates import Coordinates
from ..problem.error_quantiles import ErrorQuantiles
from ..problem.inverse_problem import InverseProblem
from ..problem.measurement_model import MeasurementModel
from ..problem.nonlinear_measurement import NonlinearMeasurement
from ..problem.weighted_mixture import WeightedMixture

__all__ = ["pack_parts", "unpack_parts"]

_CLASSES = {
    "coordinates": Coordinates,
    "error quantiles": ErrorQuantiles,
    "inverse problem": InverseProblem,
    "measurement": MeasurementModel,
    "mixture": WeightedMixture,
    "noise": NoiseModel,
    "nonlinear measurement": NonlinearMeasurement,
}
_KINDS = {cls: kind for kind, cls in _CLASSES.items()}
_KIND = "kind"


def pack_parts(part):
    """The same value, with dicts of their fields for objects of private classes.

    Parameters
    ----------
    part : object
        Such an object, or a list or tuple; anything else stays as it is.

    Returns
    -------
    packed : object
        A part that is reached twice is packed once.
    """
    return _pack(part, {})


def unpack_parts(packed):
    """The value that :func:`pack_parts` has packed.

    Raises
    ------
    KeyError, TypeError
        If a kind or a field is unknown, or a field without a default is missing.
    """
    return _unpack(packed, {})


def _pack(part, done):
    if type(part) in (list, tuple):
        return type(part)(_pack(item, done) for item in part)
    if type(part) not in _KINDS:
        return part
    if id(part) not in done:
        values = {f.name: _pack(getattr(part, f.name), done) for f in fields(part)}
        done[id(part)] = {_KIND: _KINDS[type(part)]} | values
    return done[id(part)]


def _unpack(packed, done):
    if type(packed) in (list, tuple):
        return type(packed)(_unpack(item, done) for item in packed)
    if type(packed) is not dict:
        return packed
    if id(packed) not in done:
        cls = _CLASSES[packed[_KIND]]
        values = {name: _unpack(value, done) for name, value in packed.items() if name != _KIND}
        done[id(packed)] = cls(**values)
    return done[id(packed)]
