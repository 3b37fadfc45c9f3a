"""Invertible residual networks as Bayesian point estimators, in scikit-learn's manner."""

from .estimators import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
    reconstruction_scorer,
)

__version__ = "0.1.0"

__all__ = [
    "ApproximationINN",
    "DivergenceRegularizedINN",
    "LogDetRegularizedINN",
    "ReconstructionINN",
    "Reconstructor",
    "reconstruction_scorer",
]
