"""The inverse of the steps of a pipeline that scale signals, and its derivative."""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

__all__ = ["SignalSteps"]

_NONE = (None, "passthrough")
_PROBES = 32  # signals at which the inverse is compared with a linear map
_WIDE = 2.0  # their standard deviations, relative to those of the signals
_LINEAR = 1e-7  # deviation from a linear map, relative to its values, that rounding explains


class SignalSteps:
    """The inverse f of steps that transform signals before an estimator sees them.

    Parameters
    ----------
    steps : list of transformers
        The steps in the order in which they transform; fitted where the inverse is asked for.

    Raises
    ------
    ValueError
        If a step has no inverse.
    """

    def __init__(self, steps):
        self.steps = [step for step in steps if step not in _NONE]
        for step in self.steps:
            _check_invertible(step)

    def __bool__(self):
        return bool(self.steps)

    def inverse(self, X):
        """Signals in the user's units, of shape (n_samples, n_features), from transformed ones."""
        for step in reversed(self.steps):
            X = _inverse_of(step, X)
        return X

    def linear_part(self, mean, std):
        """The D of ``f(u) = D u + constant``, or None if the inverse is not of this form.

        Whether it is of this form is found out at signals with twice the standard deviations.

        Parameters
        ----------
        mean, std : ndarrays of shape (n_transformed,)
            Means and standard deviations of the transformed signals.

        Returns
        -------
        D : ndarray of shape (n_features,) or (n_features, n_transformed), or None
            One-dimensional for a diagonal matrix.
        """
        rng, h = np.random.RandomState(0), np.where(std > 0, std, 1.0)
        first, second = mean + _WIDE * h * rng.standard_normal((2, _PROBES, len(mean)))
        with np.errstate(all="ignore"):
            images = [self._finite(u) for u in (mean[None], first, second, first + second - mean)]
        if any(image is None for image in images):
            return None
        origin, first, second, total = images
        size = np.abs(first - origin).max() + np.abs(second - origin).max()
        rounding = _LINEAR * size + 1e3 * np.finfo(float).eps * np.abs(origin).max()
        if not (np.abs(first + second - origin - total) <= rounding).all():
            return None
        return self._slopes(mean, h, rng.uniform(0.5, 1.5, len(mean)), rounding)

    def _finite(self, u):
        """The images of signals; None if they have none."""
        try:
            image = self.inverse(u)
        except ValueError:  # "Input contains infinity" from a later step
            return None
        return image if np.isfinite(image).all() else None

    def _slopes(self, mean, h, factors, rounding):
        """D from differences, which are exact for a linear map.

        D is diagonal if random factors of the features become factors of the image.
        """
        plain, mixed = (self._difference(mean, step[None])[0] for step in (h, h * factors))
        if len(plain) == len(h) and np.allclose(plain * factors, mixed, 0, rounding):
            return plain / h
        return (self._difference(mean, np.diag(h)) / h[:, None]).T

    def _difference(self, mean, steps):
        return (self.inverse(mean + steps) - self.inverse(mean - steps)) / 2


def _check_invertible(step):
    """Raise a ValueError for a step whose inverse is not known."""
    if isinstance(step, Pipeline):
        for _, inner in step.steps:
            if inner not in _NONE:
                _check_invertible(inner)
        return
    if isinstance(step, ColumnTransformer):
        for _, inner, _ in step.transformers:
            if isinstance(inner, str) and inner == "drop":
                raise ValueError(_REFUSAL.format(step="ColumnTransformer", why="it drops columns"))
            if not isinstance(inner, str):
                _check_invertible(inner)
        return
    if not hasattr(step, "inverse_transform"):
        why = "it has no inverse_transform"
    elif isinstance(step, FunctionTransformer) and step.func and not step.inverse_func:
        why = "it has no inverse_func, and would leave them as they are"
    else:
        return
    raise ValueError(_REFUSAL.format(step=type(step).__name__, why=why))


_REFUSAL = (
    "The step {step} cannot take reconstructions back to the units of the signals: {why}. Take a "
    "step with an inverse, or wrap the estimator without it: it scales signals by itself."
)


def _inverse_of(step, X):
    """The inverse of one step, with NumPy arrays in and out."""
    if isinstance(step, ColumnTransformer):
        return _inverse_of_columns(step, X)
    if isinstance(step, Pipeline):
        return SignalSteps([inner for _, inner in step.steps]).inverse(X)
    return np.asarray(step.inverse_transform(X))


def _inverse_of_columns(step, X):
    """The inverse of a ColumnTransformer, which scikit-learn has not."""
    found = np.full((len(X), step.n_features_in_), np.nan, dtype=X.dtype)
    known = np.zeros(step.n_features_in_, dtype=bool)
    for name, transformer, _ in step.transformers_:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        columns = step._transformer_to_input_indices[name]
        part = X[:, step.output_indices_[name]]
        is_kept = isinstance(transformer, str)  # "passthrough"
        found[:, columns] = part if is_kept else _inverse_of(transformer, part)
        known[columns] = True
    if not known.all():
        why = f"it drops {np.count_nonzero(~known)} columns (remainder='drop')"
        raise ValueError(_REFUSAL.format(step="ColumnTransformer", why=why))
    return found
