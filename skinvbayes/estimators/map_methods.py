"""The methods that evaluate the trained map in the space of signals, and its inverse."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import TransformerMixin

from ..numerics.modes import OwnModes
from ..numerics.progress import reporting
from ..numerics.types import Array
from .lazy import chunkwise
from .validation import check_signals, check_targets

__all__ = ["MapMethods"]


class MapMethods(TransformerMixin, OwnModes):
    """The trained map φ for estimators; needs their ``_map()`` and ``_z_map()``."""

    def transform(self, X: ArrayLike) -> Array:
        """The learned forward map φ: signals to z-space (y-space without an operator).

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            ``φ(x)``, in the units of ``Aᵀ y`` (of y without an operator).
        """
        X = check_signals(self, X)
        with reporting(self):
            return self._z_map().forward(X)

    @chunkwise
    def jacobian(self, X: ArrayLike) -> Array:
        """The Jacobian Dφ of :meth:`transform`.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        jacobian : ndarray of shape (n_samples, n_features, n_features)
            ``Dφ(x)``, ``jacobian[:, i, j]`` the derivative of the i-th output by the j-th feature;
            symmetric with ``residual="gradient"`` and one block.
        """
        X = check_signals(self, X)
        with reporting(self):
            return self._z_map().jacobian(X)

    @chunkwise
    def prior_term(self, X: ArrayLike) -> Array:
        """What training has added to the forward map, ``G x − φ(x)``.

        G is the forward map of z, ``AᵀA``; without an operator, the least-squares fit of y to x.
        What this term is in theory depends on the loss; see
        :func:`skinvbayes.diagnostics.optimal_prior_term`.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        prior_term : ndarray of shape (n_samples, n_features)
            The term, in the units of :meth:`transform`.
        """
        X = check_signals(self, X)
        double = X.astype(np.float64)
        with reporting(self):
            image = self._map().forward(double)
        return (self.problem_.forward_targets(double) - image).astype(X.dtype)

    @chunkwise
    def inverse_transform(self, X: ArrayLike) -> Array:
        """The inverse φ⁻¹ of :meth:`transform`.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_features)
            Points of z-space: ``Aᵀ y``, or y without an operator.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Signals.

        Warns
        -----
        ConvergenceWarning
            If the inversion of some rows did not converge, with their number and residual.
        """
        Z = check_targets(self, X)
        with reporting(self):
            return self._z_map().reconstruct(Z, lambda rows: rows)


# outside of what scikit-learn puts around it for set_output, which would load all rows into memory
MapMethods.transform = chunkwise(MapMethods.transform)  # type: ignore[method-assign]
