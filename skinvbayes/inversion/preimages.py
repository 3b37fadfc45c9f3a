"""Preimages that a training comes back to: where the next inversions of the same samples start."""

import torch
from torch import Tensor

__all__ = ["Preimages"]


class Preimages:
    """What the last inversion of each sample found.

    Parameters
    ----------
    points : Tensor of shape (n_samples, n_features)
        First guesses; they are written over.
    rows : Tensor of int64, default=None
        The samples that these are the preimages of; all of them by default.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.inversion import Preimages
    >>> preimages = Preimages(torch.zeros(3, 1))
    >>> preimages.of(torch.tensor([2, 0])).keep(torch.tensor([[2.0], [1.0]]))
    >>> preimages.latest().ravel()
    tensor([1., 0., 2.])
    """

    def __init__(self, points: Tensor, rows: Tensor | None = None):
        self._points = points
        self._rows = torch.arange(len(points), device="cpu") if rows is None else rows

    def of(self, rows: Tensor) -> "Preimages":
        """Those of some of the samples, in the same memory."""
        return Preimages(self._points, self._rows[rows])

    def latest(self) -> Tensor:
        """The points, of shape (n_rows, n_features)."""
        return self._points[self._rows]

    def keep(self, points: Tensor) -> None:
        """Write over the points."""
        self._points[self._rows] = points.detach()
