"""scikit-learn estimators around a trained network."""

from .base import BaseINN
from .point_estimators import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from .reconstructor import Reconstructor, reconstruction_scorer
from .regularized import BaseRegularizedINN

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
