"""The lowest of several minima: where a posterior is not log-concave, an inversion finds any.

The gradient of the potential ½ u·H u − w·u − r ε log p(u) is ψ_r(u) − w. Where the network has
learned the score of a mixture of Gaussians, log p is known, and the posterior means under each of
them tell where to look. Elsewhere the potential is an integral of ψ_r. It then does not tell the
weights of separated modes: between them there are no signals that a score could be learned from.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..numerics.tensors import as_tensor
from ..problem.weighted_mixture import WeightedMixture
from .gauss_newton import line_integral, minimize

__all__ = ["Potential", "descend"]

_DRAWS, _DRAWS_OF_MANY = 8, 2  # signals from which minima are looked for, of few and many features
_FEW_FEATURES = 16
_FLATTEST = 1e-6  # slope for Gaussian signals, below which draws go no farther
_LOWER = 1e-6  # least difference of log densities that counts


@dataclass
class Potential:
    """The function of u whose gradient is ψ_r(u) − w, for :func:`minimize`; there is no residual.

    Attributes
    ----------
    network : AdaptedNetwork
        The ψ_r of these rows, frozen.
    w : Tensor of shape (n_samples, n_features)
        What was measured.
    weight : float
        The r ε.
    clusters : WeightedMixture or None
        The p, where it is known.
    """

    network: torch.nn.Module
    w: torch.Tensor
    weight: float
    clusters: WeightedMixture | None

    def rows(self, index):
        """The potential of some of the rows."""
        return replace(self, network=self.network.rows(index), w=self.w[index])

    def residual(self, u, rows):
        return np.zeros((len(u), 0))

    def jacobian(self, u, rows):
        return np.zeros((len(u), 0, u.shape[1]))

    def gradient(self, u, rows):
        part = self.rows(as_tensor(rows))
        return (part.network(self._tensor(u)) - part.w).cpu().numpy()

    def hessian(self, u, rows):
        J = self.rows(as_tensor(rows)).network.jacobian(self._tensor(u)).cpu().numpy()
        return (J + J.transpose(0, 2, 1)) / 2

    def energy(self, u):
        """The function, but for a constant, of shape (n_samples,)."""
        if self.clusters is not None:
            log_density = self._tensor(self.clusters.log_density(u.cpu().numpy()))
            half = torch.einsum("nij,nj->ni", self.network.information(u), u) / 2
            return ((half - self.w) * u).sum(1) - self.weight * log_density
        rows, end = np.arange(len(u)), u.cpu().numpy()
        integral = line_integral(lambda v: self.gradient(v, rows), np.zeros_like(end), end)
        return self._tensor(integral)

    def starts(self):
        """Points to look for minima from, each of shape (n_samples, n_features)."""
        if self.clusters is not None:
            information = self.network.information(self.w).cpu().numpy() / self.weight
            pull = self.w.cpu().numpy() / self.weight
            return map(self._tensor, self.clusters.conditional_means(information, pull))
        return self._around_gaussian()

    def _around_gaussian(self):
        """The signal that is most likely if all are Gaussian, and draws from around it."""
        guess = self.network.linear_guess(self.w)
        yield guess
        n_features = guess.shape[1]
        n_draws = _DRAWS if n_features <= _FEW_FEATURES else _DRAWS_OF_MANY
        white = np.random.RandomState(0).standard_normal((n_draws, n_features))
        spectrum, axes = torch.linalg.eigh(self.network.gaussian_jacobian(self.w))
        scales = (self.weight / spectrum.clamp(min=_FLATTEST)).sqrt()
        for draw in self._tensor(white):
            yield guess + torch.einsum("nij,nj->ni", axes, scales * draw)

    def worth_a_descent(self, start, lowest):
        """The rows where a start may lead below what was found before."""
        if self.clusters is None:
            return torch.arange(len(start), device=start.device)
        return (self.energy(start) < lowest - _LOWER * self.weight).nonzero()[:, 0]

    def _tensor(self, array):
        return as_tensor(array).to(self.w)


def descend(potential, u, is_minimum):
    """Look for minima that are lower than these points; in place.

    Parameters
    ----------
    potential : Potential
        The function.
    u : Tensor of shape (n_samples, n_features)
        Points; rows for which a lower minimum is found get it.
    is_minimum : Tensor of bool of shape (n_samples,)
        Which of them are minima; to the others any minimum is preferred.

    Returns
    -------
    lower : Tensor of bool of shape (n_samples,)
        Whether a lower minimum was found.
    """
    lowest = torch.where(is_minimum, potential.energy(u), torch.inf)
    lower = torch.zeros_like(is_minimum)
    for start in potential.starts():
        rows = potential.worth_a_descent(start, lowest)
        part = potential.rows(rows)
        ended = minimize(part, start[rows].cpu().numpy())
        end = as_tensor(ended.u).to(u)
        energy = part.energy(end)
        better = energy < lowest[rows] - _LOWER * potential.weight
        better &= as_tensor(ended.converged).to(u.device)
        chosen = rows[better]
        u[chosen], lowest[chosen], lower[chosen] = end[better], energy[better], True
    return lower
