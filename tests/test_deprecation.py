"""What is deprecated works, and warns at the line of the caller."""

import inspect
from pathlib import Path

import pytest

from skinvbayes.numerics.deprecation import deprecated, renamed_parameters


@deprecated("0.3", "0.5", "the method predict")
def old(x):
    """A docstring."""
    return x + 1


@renamed_parameters("0.3", "0.5", sigma="noise_level")
def measure(X, *, noise_level=0.0):
    return X, noise_level


def test_deprecated_functions_work_and_warn():
    with pytest.warns(FutureWarning, match="old is deprecated since version 0.3 and") as caught:
        assert old(1) == 2
    assert "removed in 0.5; use the method predict." in str(caught[0].message)
    assert Path(caught[0].filename) == Path(__file__)
    assert inspect.getdoc(old) == "A docstring."


def test_old_names_of_parameters_work_and_warn(recwarn):
    assert measure(1, noise_level=2) == (1, 2) and not recwarn.list
    with pytest.warns(FutureWarning, match="'sigma' of measure is .* use 'noise_level'") as caught:
        assert measure(1, sigma=2) == (1, 2)
    assert Path(caught[0].filename) == Path(__file__)
    assert list(inspect.signature(measure).parameters) == ["X", "noise_level"]


def test_old_and_new_name_together_are_refused():
    with pytest.raises(TypeError, match="'sigma' and 'noise_level'"):
        measure(1, sigma=2, noise_level=2)
