"""The interrupt of the keyboard: when it ends more than one training, and when it has to wait."""

import signal
import sys
import threading
from contextlib import contextmanager

__all__ = ["interrupts_wait", "is_one_of_many"]


def is_one_of_many():
    """Whether joblib runs the caller as one of many tasks: a fit of a search or of an ensemble."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "joblib":
            return True
        frame = frame.f_back
    return False


@contextmanager
def interrupts_wait():
    """Let an interrupt of the keyboard wait for the end of the block.

    A module that was interrupted while it was imported for the first time may fail for good.
    """
    handler = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not callable(handler):  # nothing is raised here
        yield
        return
    waiting = []
    signal.signal(signal.SIGINT, lambda *arguments: waiting.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if waiting:
            handler(*waiting[-1])
