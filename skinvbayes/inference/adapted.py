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
from ..numerics.progress import tracked
from ..numerics.tensors import as_tensor, identity_like
from ..problem.weighted_mixture import WeightedMixture
from .minima import Potential, descend
from .row_operator import RowOperator
from .trained_map import TrainedMap

__all__ = ["AdaptedMap", "AdaptedNetwork"]

_MOST_STEPS = 200  # of Lanczos' method
_STATIONARY = 1e-6  # residual of a row whose inversion has ended
_DEFINITE = 1e-12  # added to the slope for Gaussian signals, relative to its size
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
        self.few_features = network.few_features
        self.any_precision, self.tolerance = network.any_precision, network.tolerance
        if other is None:  # another one may be conditioned otherwise
            self.noise_tolerance = network.noise_tolerance
            self.precondition = network.blocks[0].precondition

    def frozen(self, gradient=False):
        """A view of this map with a frozen network."""
        return type(self)(self.network.frozen(gradient), self.known, self.ratio, self.other)

    def weighted(self, ratio):
        """The same for another factor of the weight."""
        return type(self)(self.network, self.known, ratio, self.other)

    def linear_guess(self, w):
        """ψ_r⁻¹(w) for Gaussian signals, for which ψ is the identity in natural coordinates."""
        matrix = self.gaussian_jacobian(w)
        # a little more makes it definite: torch.linalg.lstsq differs in its last bits every time
        size = matrix.diagonal(dim1=1, dim2=2).abs().mean(dim=1)
        matrix = matrix + (_DEFINITE * size)[:, None, None] * identity_like(w.shape[1], w)
        return torch.linalg.solve_ex(matrix, w)[0]

    def gaussian_jacobian(self, w):
        """The Jacobians for Gaussian signals, of shape (n_samples, n_features, n_features)."""
        G = self.known.matrix(w)
        return self.information(w) + self.ratio * (identity_like(len(G), G) - G)

    def information(self, w):
        """The matrices of H, of shape (n_samples, n_features, n_features)."""
        return (self.other or self.known).matrix(w).expand(len(w), w.shape[1], w.shape[1])

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
            start = as_tensor(start).to(u).expand(u.shape)
            return lowest_eigenvalues(self.adjoint_product(u), start, max_iter=_MOST_STEPS)
        J = self.jacobian(u)
        return torch.linalg.eigvalsh((J + J.transpose(1, 2)) / 2)[:, 0]

    def magnitude(self):
        """Size of the terms of ψ_r(u) per length of u, of which G has norm one at most."""
        return (self.ratio * self.network.magnitude()).clamp(min=1.0)

    def row_entries(self, n_features):
        """As the trained network."""
        return self.network.row_entries(n_features)

    def forward(self, u):
        """ψ_r(u)."""
        return self._weighted(self.network(u), lambda term: term(u))

    def jacobian(self, u):
        """Dψ_r(u)."""
        return self._weighted(self.network.jacobian(u), lambda term: term.matrix(u))

    def jacobian_from(self, slopes):
        """Dψ_r(u) from the slopes at u."""
        matrix = self.network.blocks[0].jacobian_from(slopes)
        return self._weighted(matrix, lambda term: term.matrix(matrix))

    def call_and_slopes(self, u):
        """ψ_r(u), and the slopes of the units of ψ."""
        image, slopes = self.network.blocks[0].call_and_slopes(u)
        return self._weighted(image, lambda term: term(u)), slopes

    def product_from(self, slopes, dtype=None):
        """Multiplication by Dψ_r(u) from the slopes at u, without forming it."""
        return self._weighted_product(self.network.blocks[0].product_from(slopes, dtype))

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
    """φ_r in the user's units; its inverse starts from that of φ and changes r in steps.

    Attributes
    ----------
    network : AdaptedNetwork
        The map ψ_r.
    coordinates, variance : Coordinates, float
        As of :class:`TrainedMap`.
    clusters : WeightedMixture or None
        The prior that the network has learned, in these coordinates, where that is a mixture.
    """

    network: AdaptedNetwork
    clusters: WeightedMixture | None

    to_what = " to a solution that is surely the only one"

    @property
    def advice(self):
        """What to do about rows that have not converged, or where the map is not monotone."""
        return (
            "The map is not monotone there for these measurements: what is returned is the most "
            "likely of several solutions that were found, or none if the residual is large. Ask "
            "for a lower noise_level, or train with such measurements."
        )

    def _invert(self, w):
        """ψ_r⁻¹(w), by continuation in the weight: for H = G from that of the training.

        A row counts as converged only if ψ_r is monotone at its first and last point and half way,
        and no other minimum was found. Elsewhere the lowest of them is returned.
        """
        network, ratio = self.network, self.network.ratio
        noise = (min(ratio, 1.0) * self.variance) ** 0.5
        if network.other is None:
            first, found = 1.0, invert(network.network, w, noise=noise)
        else:
            first = min(1.0, ratio)
            found = invert(network.weighted(first), w, start=self._guess(w), noise=noise)
        start = found.x
        n_steps = max(1, math.ceil(math.log(ratio / first) / math.log(_GROWTH)))
        for step in tracked(range(1, n_steps + 1), "reconstruction"):
            share = step / n_steps
            weighted = network.weighted(first * (ratio / first) ** share)
            found = invert(weighted, w, start=found.x, noise=noise)
        if (ratio > 1 or network.other is not None) and not network.surely_monotone():
            frozen = network.frozen()
            for share in (0.0, 0.5, 1.0):
                points = start + share * (found.x - start)
                found.converged &= frozen.lowest_slopes(points) > 0
            self._descend(w, found)
        return found

    def _guess(self, w):
        """Where to start from; None for where inversions start by themselves."""
        if not self._is_isotropic:
            return self.network.linear_guess(w)
        return invert(self.network.network, w).x if self.network.differs_by_row else None

    def _descend(self, w, found):
        """Give rows the lowest minimum found of their potential; in place.

        Those that have not converged, or all where the prior is known and tells of other minima.
        """
        rows = (~found.converged | (self.clusters is not None)).nonzero()[:, 0]
        by_matrices = not self._is_isotropic and self.network.network.positive_definite
        if not by_matrices or len(rows) == 0:
            return
        network, weight = self.network.rows(rows).frozen(), self.variance * self.network.ratio
        potential, u = Potential(network, w[rows], weight, self.clusters), found.x[rows]
        lower = descend(potential, u, found.residual[rows] < _STATIONARY).nonzero()[:, 0]
        rows, image = rows[lower], network.rows(lower)(u[lower])
        found.x[rows], found.converged[rows] = u[lower], False
        found.residual[rows] = torch.linalg.vector_norm(image - w[rows], dim=1)
