"""Public functions and methods say the types of what they take and return."""

import importlib
import inspect

import pytest

import skinvbayes
from test_public_api import PUBLIC, is_public

ROOMS = sorted(set(PUBLIC) - {"problem"})  # whose coordinates take arrays and tensors alike


def functions():
    """Public functions, and public methods and constructors of public classes, by their places."""
    for room in ["skinvbayes", *(f"skinvbayes.{room}" for room in ROOMS)]:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value):
                yield from methods(value)
            elif inspect.isfunction(value):
                yield f"{value.__module__}.{name}", value


def methods(cls):
    for owner in cls.__mro__:
        if owner.__module__.startswith("skinvbayes"):
            for name, member in vars(owner).items():
                function = plain(member)
                if function is not None and (is_public(name) or name in ("__init__", "__call__")):
                    yield f"{owner.__module__}.{owner.__name__}.{name}", function


def plain(member):
    """The function that a decorated member comes from; None if it is another's, or no function."""
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, (classmethod, staticmethod)):
        member = member.__func__
    function = inspect.unwrap(getattr(member, "fn", member))  # of available_if: its ``fn``
    if inspect.isfunction(function) and function.__module__.startswith("skinvbayes"):
        return function if function.__name__ != "<lambda>" else None
    return None


FUNCTIONS = dict(functions())


@pytest.mark.parametrize("place", sorted(FUNCTIONS))
def test_public_signatures_have_types(place):
    signature = inspect.signature(FUNCTIONS[place])
    parameters = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    assert [one.name for one in parameters if one.annotation is one.empty] == []
    if not place.endswith("__init__"):
        assert signature.return_annotation is not signature.empty


def test_the_methods_of_the_estimators_are_among_them():
    base = "skinvbayes.estimators"
    assert f"{base}.base.BaseINN.fit" in FUNCTIONS
    assert f"{base}.reconstructor.Reconstructor.adapt" in FUNCTIONS  # behind available_if
    assert f"{base}.posterior_methods.PosteriorMethods.posterior_std" in FUNCTIONS
    assert len(FUNCTIONS) > 150 and skinvbayes.__all__
