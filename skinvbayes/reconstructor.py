"""The place of the Reconstructor in version 0.1, which models that it stored still name."""

from .estimators import Reconstructor, reconstruction_scorer

__all__ = ["Reconstructor", "reconstruction_scorer"]
