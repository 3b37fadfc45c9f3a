"""Invertible residual networks as Bayesian point estimators, in scikit-learn's manner."""

from ._version import __version__ as __version__
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
]
