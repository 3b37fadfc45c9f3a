"""The docstrings of the estimators are complete."""

import inspect
import re

import pytest

import skinvbayes
from skinvbayes.callbacks import Checkpoint

ESTIMATORS = [getattr(skinvbayes, name) for name in skinvbayes.__all__ if name.endswith("INN")]


def section(doc, title):
    """The text between a numpydoc heading and the next one."""
    pattern = rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)"
    return re.search(pattern, doc, re.DOTALL | re.MULTILINE).group(1)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_every_parameter_and_attribute_is_documented(cls, pairs):
    doc = inspect.getdoc(cls)
    documented = re.findall(r"^(\w+) : ", section(doc, "Parameters"), re.MULTILINE)
    assert documented == list(inspect.signature(cls).parameters)
    fitted = {name for name in vars(cls(max_iter=1).fit(*pairs)) if name.endswith("_")}
    public = {name for name in fitted if not name.startswith("_")}
    attributes = section(doc, "Attributes")
    assert {name for name in public if name not in attributes} == set()
    assert "{" not in section(doc, "Examples")
    assert "{parameters}" not in doc and "{epsilon}" not in doc


@pytest.mark.parametrize("cls", [*ESTIMATORS, Checkpoint])
def test_public_methods_have_numpydoc(cls):
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("skinvbayes"):
            doc = inspect.getdoc(method)
            for parameter in list(inspect.signature(method).parameters)[1:]:
                assert re.search(rf"^{parameter} : ", section(doc, "Parameters"), re.MULTILINE)
            assert "Returns" in doc or cls is Checkpoint


def test_every_parameter_of_the_callback_is_documented():
    documented = re.findall(r"^(\w+) : ", section(inspect.getdoc(Checkpoint), "Parameters"), re.M)
    assert documented == list(inspect.signature(Checkpoint).parameters)
