"""The interrupt of the keyboard: when it ends more than one training."""

import sys

__all__ = ["is_one_of_many"]


def is_one_of_many():
    """Whether joblib runs the caller as one of many tasks: a fit of a search or of an ensemble."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "joblib":
            return True
        frame = frame.f_back
    return False
