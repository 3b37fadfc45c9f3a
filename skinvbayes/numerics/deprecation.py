"""How public names go: they warn for two minor versions, and then they are removed."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .warn import warn_caller

__all__ = ["deprecated", "renamed_parameters"]

P = ParamSpec("P")
R = TypeVar("R")


def deprecated(
    since: str, removal: str, instead: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function or a method warn that it will be removed.

    Parameters
    ----------
    since, removal : str
        The version from which on it warns, and the one that is without it.
    instead : str
        What to use: a clause that follows "use".

    Returns
    -------
    decorator : callable

    Examples
    --------
    >>> import warnings
    >>> @deprecated("0.3", "0.5", "new_name")
    ... def old_name(x):
    ...     return x + 1
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     old_name(1)
    2
    >>> print(caught[0].message)
    old_name is deprecated since version 0.3 and will be removed in 0.5; use new_name.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def warning(*args: P.args, **kwargs: P.kwargs) -> R:
            warn_caller(_message(function.__qualname__, since, removal, instead), FutureWarning)
            return function(*args, **kwargs)

        return warning

    return decorate


def renamed_parameters(
    since: str, removal: str, **new_names: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make a function take parameters by their old names too, with a warning.

    Parameters
    ----------
    since, removal : str
        The version that has the new names, and the one that takes the old ones no longer.
    **new_names : str
        The new name for each old one.

    Returns
    -------
    decorator : callable

    Examples
    --------
    >>> @renamed_parameters("0.3", "0.5", sigma="noise_level")
    ... def measure(noise_level):
    ...     return noise_level
    >>> measure(noise_level=0.1)
    0.1
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        name = function.__qualname__

        @wraps(function)
        def renaming(*args: Any, **kwargs: Any) -> R:
            for old, new in new_names.items():
                if old in kwargs and new in kwargs:
                    raise TypeError(
                        f"{name} got {old!r} and {new!r}, which are the same: give one."
                    )
                if old in kwargs:
                    message = _message(f"{old!r} of {name}", since, removal, repr(new))
                    warn_caller(message, FutureWarning)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renaming

    return decorate


def _message(name: str, since: str, removal: str, instead: str) -> str:
    return (
        f"{name} is deprecated since version {since} and will be removed in {removal}; "
        f"use {instead}."
    )
