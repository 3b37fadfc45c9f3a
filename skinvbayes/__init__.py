"""Invertible residual networks as Bayesian point estimators, in scikit-learn's manner."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from ._show_versions import show_versions
    from .estimators import (
        ApproximationINN,
        DivergenceRegularizedINN,
        LogDetRegularizedINN,
        ReconstructionINN,
        Reconstructor,
        reconstruction_scorer,
    )

__all__ = [
    "ApproximationINN",
    "DivergenceRegularizedINN",
    "LogDetRegularizedINN",
    "ReconstructionINN",
    "Reconstructor",
    "reconstruction_scorer",
    "show_versions",
]


def __getattr__(name):
    """Import what is asked for, when it is: torch takes seconds, which ``--help`` need not wait."""
    if name in __all__:
        home = "._show_versions" if name == "show_versions" else ".estimators"
        return getattr(import_module(home, __name__), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
