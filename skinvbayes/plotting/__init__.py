"""Pictures of what was learned, in scikit-learn's Display convention.

Every display is made by ``from_estimator`` or, from numbers at hand, by ``from_predictions``; it
draws on ``ax`` or on a new figure, and has them as ``ax_`` and ``figure_``. Several of them share
axes when they are handed the same ``ax``. matplotlib is imported when something is drawn.
"""

from .curves import EpsilonPathDisplay, LossCurveDisplay
from .errors import ErrorTradeOffDisplay, UncertaintyDisplay
from .images import ImagesDisplay
from .plane import DeformedGridDisplay, VectorFieldDisplay

__all__ = [
    "DeformedGridDisplay",
    "EpsilonPathDisplay",
    "ErrorTradeOffDisplay",
    "ImagesDisplay",
    "LossCurveDisplay",
    "UncertaintyDisplay",
    "VectorFieldDisplay",
]
