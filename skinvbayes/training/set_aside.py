"""The pairs that judge a training: pairs of their own, or a part of those that are given."""

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from .specification import Pairs

__all__ = ["ALL", "SetAside"]


class SetAside(NamedTuple):
    """What is known about the pairs that are to judge a training.

    Attributes
    ----------
    pairs : Pairs or None
        Pairs for early stopping that are not trained on; None to set some of the others aside.
    groups : ndarray of int of shape (n_samples,) or None
        The group of each pair of the training: those of one group stay together.
    """

    pairs: Pairs | None = None
    groups: np.ndarray | None = None

    def ordered(self, rows):
        """The same for pairs of the training in another order."""
        return self if self.groups is None else self._replace(groups=self.groups[rows])

    def signals(self, pairs, rows=slice(None)):
        """Some of the pairs; those of one group that measure the same signal count as one."""
        pairs = pairs.rows(rows)
        if self.groups is None:
            return pairs
        signals = np.column_stack([self.groups[rows], pairs.X])
        _, first, inverse = np.unique(signals, axis=0, return_index=True, return_inverse=True)
        order, weight = np.argsort(first), np.bincount(inverse.ravel(), pairs.weight)
        return pairs.rows(first[order])._replace(weight=weight[order])

    def split(self, n_samples, n_held, rng):
        """Rows of the training's pairs to train on, and rows to set aside.

        Parameters
        ----------
        n_samples : int
            Number of the pairs.
        n_held : int or float
            How many to set aside, or which part of them; of groups this part.
        rng : RandomState
            Source of the choice.

        Returns
        -------
        kept, held : ndarrays of int
        """
        rows = np.arange(n_samples)
        if self.groups is None:
            return train_test_split(rows, test_size=n_held, random_state=rng)
        part = n_held if n_held < 1 else n_held / n_samples
        part = max(part, 1 / (1 + self.groups.max()))  # one group at least
        splitter = GroupShuffleSplit(1, test_size=part, random_state=rng)
        return next(splitter.split(rows, groups=self.groups))


ALL = SetAside()
