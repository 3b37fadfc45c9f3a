"""Pictures of what was learned, in scikit-learn's Display convention.

Every display is made by ``from_estimator``, or by ``from_predictions`` from arrays. It draws on the
axes ``ax``, or on a new figure, and stores both as ``ax_`` and ``figure_``. Displays that are given
the same ``ax`` share these axes. matplotlib is imported only when something is drawn.
"""

from .epsilon_path import EpsilonPathDisplay
from .errors import ErrorTradeOffDisplay
from .images import ImagesDisplay
from .loss_curve import LossCurveDisplay
from .plane import DeformedGridDisplay, VectorFieldDisplay
from .signals import SignalDisplay
from .uncertainty import UncertaintyDisplay

__all__ = [
    "DeformedGridDisplay",
    "EpsilonPathDisplay",
    "ErrorTradeOffDisplay",
    "ImagesDisplay",
    "LossCurveDisplay",
    "SignalDisplay",
    "UncertaintyDisplay",
    "VectorFieldDisplay",
]
