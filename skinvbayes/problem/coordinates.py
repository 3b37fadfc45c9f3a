"""Unit scale: the problem the network sees, and the way back to the user's units."""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Units"]


@dataclass
class Units:
    """x = x̄ + s u and z = z̄ + s a w, with one scalar scale s and a = ‖G‖.

    Attributes
    ----------
    signal_mean, target_mean : ndarrays of shape (n_features,)
        The means x̄ and z̄.
    signal_scale : float
        Root s of the mean variance of the signals' coordinates.
    forward_norm : float
        Spectral norm a of the forward map G.
    """

    signal_mean: np.ndarray
    target_mean: np.ndarray
    signal_scale: float
    forward_norm: float

    @classmethod
    def from_data(cls, X, Z, norm, weight):
        """The units in which weighted signals have variance one and G, of this norm, norm one."""
        x_mean, z_mean = (np.average(values, axis=0, weights=weight) for values in (X, Z))
        variance = np.average((X - x_mean) ** 2, axis=0, weights=weight).mean()
        return cls(x_mean, z_mean, float(np.sqrt(variance)) or 1.0, norm or 1.0)

    def with_common_mean(self, forward):
        """The same units with one mean for all features, and its image by an operator ``AᵀA``."""
        mean = np.full(forward.shape[0], self.signal_mean.mean())
        return replace(self, signal_mean=mean, target_mean=forward.forward(mean[None])[0])

    @property
    def target_scale(self):
        """The scale s a of z."""
        return self.signal_scale * self.forward_norm

    def to_signals(self, u):
        """x from u."""
        return self.signal_mean + self.signal_scale * u

    def from_signals(self, X):
        """u from x."""
        return (X - self.signal_mean) / self.signal_scale

    def to_targets(self, w):
        """z from w."""
        return self.target_mean + self.target_scale * w

    def from_targets(self, Z):
        """w from z."""
        return (Z - self.target_mean) / self.target_scale
