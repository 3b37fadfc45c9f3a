"""scikit-learn estimators around a trained network."""

from .base import BaseINN
from .point_estimators import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from .reconstructor import Reconstructor
from .regularized import BaseRegularizedINN
from .scoring import reconstruction_scorer

__all__ = [
    "ApproximationINN",
    "BaseINN",
    "BaseRegularizedINN",
    "DivergenceRegularizedINN",
    "LogDetRegularizedINN",
    "ReconstructionINN",
    "Reconstructor",
    "reconstruction_scorer",
]
