"""Other measurements without training again: the map of the divergence loss for other weights.

Its optimum is φ(x) = G x − ε ∇log p(x), which holds the prior by itself. With G known, the one for
the weight r ε and another forward map H is φ_r(x) = H x + r (φ(x) − G x). For H = G and r < 1 it is
monotone where φ is. Otherwise it is so only while the posterior stays log-concave; beyond, several
x have the same φ_r(x).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..inversion import InvertibleMap, invert
from ..numerics import chunks
from ..numerics.krylov import lowest_eigenvalues
from .gauss_newton import minimize
from .row_operator import RowOperator
from .trained_map import TrainedMap

__all__ = ["AdaptedMap", "AdaptedNetwork"]

_MOST_STEPS = 200  # of Lanczos' method
_MOST_FEATURES = 512  # up to which matrices are formed to minimise a potential
_GROWTH = 1.25  # of the weight from one step of the continuation to the next


class AdaptedNetwork(InvertibleMap):
    """ψ_r(u) = H u + r (ψ(u) − G u), in the coordinates of ψ.

    Parameters
    ----------
    network : IResNet
        The trained ψ.
    known : TensorOperator
        The map G.
    ratio : float
        The factor r of the weight.
    other : TensorOperator or RowOperator, default=None
        The map H, of all rows or of each; G by default.
    """

    def __init__(self, network, known, ratio, other=None):
        super().__init__()
        self.network = network
        self.known = known
        self.ratio = ratio
        self.other = other
        self.matrix_free = self.positive_definite = network.matrix_free  # which means symmetric
        self.has_majorant, self.tolerance = network.has_majorant, network.tolerance

    def frozen(self, gradient=False):
        """A view of this map with a frozen network."""
        return type(self)(self.network.frozen(gradient), self.known, self.ratio, self.other)

    def weighted(self, ratio):
        """The same for another factor of the weight."""
        return type(self)(self.network, self.known, ratio, self.other)

    def linear_guess(self, w):
        """ψ_r⁻¹(w) for Gaussian signals, for which ψ is the identity in natural coordinates."""
        G, H = self.known.matrix(w), (self.other or self.known).matrix(w)
        matrix = H + self.ratio * (torch.eye(len(G)).to(G) - G)
        rows = matrix.expand(len(w), *G.shape)
        return torch.linalg.lstsq(rows, w[:, :, None]).solution[:, :, 0]

    @property
    def differs_by_row(self):
        """Whether every row has an H of its own."""
        return isinstance(self.other, RowOperator)

    def rows(self, index):
        """The map of some of the rows."""
        return self.with_other(self.other.rows(index)) if self.differs_by_row else self

    def with_other(self, other):
        """The same with another H."""
        return type(self)(self.network, self.known, self.ratio, other)

    def reference_points(self, like):
        """Those of the trained network."""
        return self.network.reference_points(like)

    def surely_monotone(self):
        """Whether the bounds of ψ, of G and of H prove that ψ_r is strictly monotone."""
        if not self.matrix_free:
            return False
        block = self.network.blocks[0]
        lowest = block.known_bounds[0]
        least = lowest if self.other is None else 0.0  # H is only known to be semidefinite
        return bool(least + self.ratio * (block.bounds()[0] - lowest) > 0)

    def lowest_slopes(self, u):
        """The lowest eigenvalues of the symmetric parts of Dψ_r(u), of shape (n_samples,).

        Without matrices by Lanczos' method, with the right sign; −∞ where that does not settle.
        """
        size = (chunks.BASIS_ENTRIES if self.matrix_free else chunks.MOST_ENTRIES) // u.shape[1]
        parts = chunks.slices(len(u), size if self.matrix_free else size // u.shape[1])
        return torch.cat([self.rows(part)._lowest(u[part]) for part in parts])

    def _lowest(self, u):
        if self.matrix_free:
            start = np.random.RandomState(0).standard_normal(u.shape[1])
            start = torch.from_numpy(start).to(u).expand(u.shape)
            return lowest_eigenvalues(self.adjoint_product(u), start, max_iter=_MOST_STEPS)
        J = self.jacobian(u)
        return torch.linalg.eigvalsh((J + J.transpose(1, 2)) / 2)[:, 0]

    def magnitude(self):
        """Size of the terms of ψ_r(u) per length of u, to judge rounding by."""
        return self.ratio * self.network.magnitude()

    def row_entries(self, n_features):
        """As the trained network."""
        return self.network.row_entries(n_features)

    def forward(self, u):
        """ψ_r(u)."""
        return self._weighted(self.network(u), lambda term: term(u))

    def jacobian(self, u):
        """Dψ_r(u)."""
        return self._weighted(self.network.jacobian(u), lambda term: term.matrix(u))

    def call_and_slopes(self, u):
        """ψ_r(u), and the slopes of the units of ψ."""
        image, slopes = self.network.blocks[0].call_and_slopes(u)
        return self._weighted(image, lambda term: term(u)), slopes

    def product_from(self, slopes, dtype=None):
        """Multiplication by Dψ_r(u) from the slopes at u, without forming it."""
        return self._weighted_product(self.network.blocks[0].product_from(slopes, dtype))

    def majorant(self, u, dtype):
        """That of the trained block, weighted."""
        return self._weighted_product(self.network.blocks[0].majorant(u, dtype))

    def adjoint_product(self, u):
        """Multiplication of rows by Dψ_r(u) where that is symmetric, without forming it."""
        return self.product_from(self.call_and_slopes(u)[1])

    def _weighted_product(self, product):
        return lambda v: self._weighted(product(v), lambda term: term(v))

    def _weighted(self, trained, of):
        """H + r (ψ − G), each of them as ``of`` makes it of a linear map."""
        known = of(self.known)
        return (known if self.other is None else of(self.other)) + self.ratio * (trained - known)


@dataclass
class AdaptedMap(TrainedMap):
    """φ_r in the user's units; its inverse starts from that of φ and changes r in steps."""

    network: AdaptedNetwork

    @property
    def advice(self):
        """What to do about rows that have not converged, or where the map is not monotone."""
        return (
            "The map is not monotone there for these measurements: what is returned is one of "
            "several solutions, or none. Ask for a lower noise_level, or train with such "
            "measurements."
        )

    def _invert(self, w):
        """ψ_r⁻¹(w), by continuation in the weight: for H = G from that of the training.

        A row counts as converged only if ψ_r is monotone at its first and last point and half way.
        """
        network, ratio = self.network, self.network.ratio
        if network.other is None:
            first, found = 1.0, invert(network.network, w)
        else:
            first = min(1.0, ratio)
            found = invert(network.weighted(first), w, start=self._guess(w))
        start = found.x
        n_steps = max(1, math.ceil(math.log(ratio / first) / math.log(_GROWTH)))
        for step in range(1, n_steps + 1):
            share = step / n_steps
            found = invert(network.weighted(first * (ratio / first) ** share), w, start=found.x)
        self._descend(w, found, start)
        if (ratio > 1 or network.other is not None) and not network.surely_monotone():
            frozen = network.frozen()
            for share in (0.0, 0.5, 1.0):
                points = start + share * (found.x - start)
                found.converged &= frozen.lowest_slopes(points) > 0
        return found

    def _descend(self, w, found, start):
        """Rows whose inversion has not converged are taken down to a minimum of their potential."""
        left = (~found.converged).nonzero()[:, 0]
        few = w.shape[1] <= _MOST_FEATURES and self.network.network.positive_definite
        if not few or len(left) == 0:
            return
        potential = _Potential(self.network.rows(left).frozen(), w[left])
        lowest = minimize(potential, start[left].cpu().numpy())
        down = torch.from_numpy(lowest.converged).to(w.device)
        u, left = torch.from_numpy(lowest.u).to(w)[down], left[down]
        found.x[left] = u
        found.residual[left] = torch.linalg.vector_norm(self.network.rows(left)(u) - w[left], dim=1)
        found.converged[left] = True

    def _guess(self, w):
        """Where to start from; None for where inversions start by themselves."""
        if not self._is_isotropic:
            return self.network.linear_guess(w)
        return invert(self.network.network, w).x if self.network.differs_by_row else None


@dataclass
class _Potential:
    """The function of u whose gradient is ψ(u) − w, for :func:`minimize`; there is no residual."""

    network: AdaptedNetwork
    w: torch.Tensor

    def residual(self, u, rows):
        return np.zeros((len(u), 0))

    def jacobian(self, u, rows):
        return np.zeros((len(u), 0, u.shape[1]))

    def gradient(self, u, rows):
        return (self._of(rows)(torch.from_numpy(u).to(self.w)) - self.w[rows]).cpu().numpy()

    def hessian(self, u, rows):
        J = self._of(rows).jacobian(torch.from_numpy(u).to(self.w)).cpu().numpy()
        return (J + J.transpose(0, 2, 1)) / 2

    def _of(self, rows):
        return self.network.rows(torch.from_numpy(rows))
