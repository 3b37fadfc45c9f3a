"""Progress of long work, reported from wherever it is known.

A public method of an estimator names the work, with :func:`reporting`. The loops inside say how far
they are, with :func:`tracked`; a loop inside a loop fills the part that the outer one is at. Where
nobody wants to know, none of this does anything.
"""

import math
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from .displays import Display

__all__ = ["portion", "report_residuals", "reporting", "tracked"]

DELAY = 0.5  # seconds before predictions and the like show anything
_work = ContextVar("skinvbayes_work", default=None)  # of every thread its own


class _Work:
    """What is done for one call: the part of it that is being worked on, and its display."""

    def __init__(self, name):
        self.name, self.display = name, None

    def open(self, what):
        self.low, self.high = 0.0, 1.0
        self.display = Display(f"{self.name}: {what}", DELAY)

    def close(self):
        display, self.display = self.display, None
        if display is not None:
            display.close()

    def reach(self, share):
        """Report a share of the part that is being worked on; what is shown never goes back."""
        share = self.low + share * (self.high - self.low)
        self.display.show(max(self.display.share, share))


@contextmanager
def reporting(estimator):
    """Show the progress of what is done for one call of an estimator, if it is verbose.

    Parameters
    ----------
    estimator : estimator
        With the parameter ``verbose``.
    """
    work = _Work(type(estimator).__name__) if estimator.verbose else None
    token = _work.set(work)
    try:
        yield
    finally:
        _work.reset(token)
        if work is not None:
            work.close()


def tracked(parts, what):
    """The parts of some work one after another, each of which takes about as long.

    Parameters
    ----------
    parts : sequence
        What a loop runs over.
    what : str
        What the loop makes, for the display; only that of the outermost loop is shown.

    Yields
    ------
    part : object
        The elements of ``parts``.
    """
    work = _work.get()
    if work is None:
        yield from parts
        return
    outermost = work.display is None
    if outermost:
        work.open(what)
    for k, part in enumerate(parts):
        with portion(k / len(parts), (k + 1) / len(parts)):
            yield part
    if outermost:
        work.close()


@contextmanager
def portion(low, high):
    """What is done inside is this portion of the part that is being worked on.

    Parameters
    ----------
    low, high : float
        Ends of the portion, between 0 and 1.
    """
    work = _work.get()
    if work is None or work.display is None:
        yield
        return
    before = work.low, work.high
    width = work.high - work.low
    work.low, work.high = work.low + low * width, work.low + high * width
    try:
        yield
        if work.display is not None:
            work.reach(1.0)
    finally:
        work.low, work.high = before


def report_residuals(first, size, threshold, n_rows=None):
    """Report how far an iteration has come, by its residuals, whose logarithms fall about evenly.

    Parameters
    ----------
    first, size, threshold : Tensors of shape (n_going,)
        Norms of the residuals at the start and now, and those to reach.
    n_rows : int, default=None
        Number of all rows; those that have ended are not among the ``n_going``. By default none
        has.
    """
    work = _work.get()
    if work is None or work.display is None or not work.display.is_due:
        return
    ratio = torch.log(first / size) / torch.log(first / threshold)
    ratio = torch.where(size <= threshold, 1.0, ratio.nan_to_num(nan=0.0).clamp(0, 1))
    n_left = ratio.numel() - float(ratio.sum())
    share = 1 - n_left / max(n_rows or ratio.numel(), 1)
    if math.isfinite(share):
        work.reach(share)
