"""The pairs that judge a training, from what ``fit`` is given for them."""

from ..training.set_aside import SetAside
from .validation import can_measure, validation_pairs

__all__ = ["set_aside_for"]


def set_aside_for(estimator, X_val, y_val, sample_weight_val, groups):
    """What is to judge the training of an estimator.

    Parameters
    ----------
    estimator : BaseINN
        The estimator, with the sizes and names of the training's pairs.
    X_val, y_val, sample_weight_val
        As given to ``fit``.
    groups : ndarray of int of shape (n_samples,) or None
        The group of each distinct pair of the training.

    Returns
    -------
    set_aside : SetAside

    Raises
    ------
    ValueError
        If they do not fit the pairs of the training or each other, or would not be used.
    """
    if groups is not None and groups.max() == 0:
        raise ValueError(
            "All pairs that count are of one group, and groups are set aside as a whole: give "
            "more than one, or leave groups out."
        )
    if X_val is None:
        if y_val is not None or sample_weight_val is not None:
            raise ValueError("y_val or sample_weight_val is given, but X_val is not: give it too.")
        return SetAside(groups=groups)
    if y_val is None and not can_measure(estimator):
        raise ValueError("X_val is given, but y_val is not: give it too.")
    if not estimator.early_stopping:
        raise ValueError(
            "X_val and y_val are given, but early_stopping=False does not use them: set "
            "early_stopping=True."
        )
    if groups is not None:
        raise ValueError(
            "Both X_val and groups are given, but with X_val none of the other pairs are set "
            "aside: give one of them."
        )
    return SetAside(pairs=validation_pairs(estimator, X_val, y_val, sample_weight_val))
