"""Unit scale: the coordinates the network works in, and the way back to the user's units.

Conversions between the user's units and unit scale: of signals and targets, of the weights of
penalties, of the bandwidth and of the values of losses.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

__all__ = ["Coordinates", "rounded_number", "rounded_rows"]


@dataclass
class Coordinates:
    """x = x̄ + s u and z = z̄ + s a w, with one scalar scale s and a = ‖G‖.

    Attributes
    ----------
    signal_mean, target_mean : ndarrays of shape (n_features,)
        The means x̄ and z̄.
    signal_scale : float
        The scale s: the root of the mean variance of the signals' coordinates.
    forward_norm : float
        Spectral norm a of the forward map G.
    """

    signal_mean: np.ndarray
    target_mean: np.ndarray
    signal_scale: float
    forward_norm: float

    @classmethod
    def from_data(cls, X, Z, norm, weight):
        """The coordinates in which weighted signals have variance one and G has norm one.

        Parameters
        ----------
        X, Z : ndarrays of shape (n_samples, n_features)
            Signals and targets.
        norm : float
            Spectral norm of G in the user's units.
        weight : ndarray of shape (n_samples,)
            How often each pair counts.

        Returns
        -------
        coordinates : Coordinates
        """
        x_mean, z_mean = (np.average(values, axis=0, weights=weight) for values in (X, Z))
        variance = np.average((X - x_mean) ** 2, axis=0, weights=weight).mean()
        return cls(x_mean, z_mean, float(np.sqrt(variance)) or 1.0, norm or 1.0)

    def with_common_mean(self, forward):
        """The same scales, one mean for all features, and the image of this mean under G."""
        mean = np.full(forward.shape[0], self.signal_mean.mean())
        return replace(self, signal_mean=mean, target_mean=forward.forward(mean[None])[0])

    @property
    def n_features(self):
        """Dimension d of the signals."""
        return len(self.signal_mean)

    @property
    def target_scale(self):
        """The scale s a of z."""
        return self.signal_scale * self.forward_norm

    # -------------------------------------------------------------------------------- rows

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

    def to_jacobian(self, unit):
        """Dφ from Dψ; the same for products with them."""
        return self.forward_norm * unit

    def to_signal_gradient(self, unit):
        """∇_x from ∇_u."""
        return unit / self.signal_scale

    # ----------------------------------------------------------------------------- numbers

    def unit_bandwidth(self, bandwidth):
        """The standard deviation of jitter on u, from that of jitter on x."""
        return bandwidth / self.signal_scale

    def unit_divergence_weight(self, epsilon):
        """The weight of div ψ that stands for ε div φ; the same for a weight of the score."""
        return epsilon / (self.signal_scale**2 * self.forward_norm)

    def unit_logdet_weight(self, epsilon):
        """The weight of log|det Dψ| that stands for ε log|det Dφ|."""
        return epsilon / self.target_scale**2

    def logdet_constant(self):
        """The difference log|det Dφ| − log|det Dψ| = d log a."""
        return self.n_features * np.log(self.forward_norm)


def rounded_number(value):
    """A number of unit scale rounded to float32, so that its bits do not depend on the units."""
    return float(np.float32(value))


def rounded_rows(rows, device, dtype):
    """Rows of unit scale rounded to float32, as a Tensor; see :func:`rounded_number`."""
    return torch.from_numpy(rows).to(device=device, dtype=torch.float32).to(dtype)
