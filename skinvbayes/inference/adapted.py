"""Another noise level without training again: the map of the divergence loss for another weight.

Its optimum is φ(x) = G x − ε ∇log p(x). With G known, the one for the weight r ε is
φ_r(x) = G x + r (φ(x) − G x). For r < 1 it is monotone where φ is. For r > 1 it is so only while
the posterior stays log-concave; beyond, several x have the same φ_r(x).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from ..inversion import InvertibleMap, invert
from .trained_map import TrainedMap

__all__ = ["AdaptedMap", "AdaptedNetwork"]

_ROUGHLY, _RESTARTS = 1e-2, 20  # tolerance and length of Lanczos' method
_GROWTH = 1.25  # of the weight from one step of the continuation to the next


class AdaptedNetwork(InvertibleMap):
    """ψ_r(u) = G u + r (ψ(u) − G u), in unit scale.

    Parameters
    ----------
    network : IResNet
        The trained ψ.
    known : TensorOperator
        The map G.
    ratio : float
        The factor r of the weight.
    """

    def __init__(self, network, known, ratio):
        super().__init__()
        self.network = network
        self.known = known
        self.ratio = ratio
        self.matrix_free = self.positive_definite = network.matrix_free  # which means symmetric
        self.has_majorant, self.tolerance = network.has_majorant, network.tolerance

    def frozen(self, gradient=False):
        """A view of this map with a frozen network."""
        return type(self)(self.network.frozen(gradient), self.known, self.ratio)

    def reference_points(self, like):
        """Those of the trained network."""
        return self.network.reference_points(like)

    def surely_monotone(self):
        """Whether the bounds of ψ and of G prove that ψ_r is strictly monotone."""
        block = self.network.blocks[0]
        lowest = block.known_bounds[0]
        return self.matrix_free and bool(lowest + self.ratio * (block.bounds()[0] - lowest) > 0)

    def lowest_slopes(self, u):
        """The lowest eigenvalues of the symmetric parts of Dψ_r(u), of shape (n_samples,).

        Without matrices by Lanczos' method; −∞ where that does not converge.
        """
        if self.matrix_free:
            return torch.stack([self._lowest_by_products(row) for row in u])
        J = self.jacobian(u)
        return torch.linalg.eigvalsh((J + J.transpose(1, 2)) / 2)[:, 0]

    def _lowest_by_products(self, row):
        product, n = self.adjoint_product(row[None]), len(row)

        def multiply(v):
            return product(torch.from_numpy(v.reshape(1, n)).to(row))[0].cpu().numpy()

        options = {"which": "SA", "tol": _ROUGHLY, "maxiter": _RESTARTS}
        start = np.random.RandomState(0).standard_normal(n)
        try:
            operator = LinearOperator((n, n), multiply, dtype=np.float64)
            (lowest,) = eigsh(operator, k=1, v0=start, return_eigenvectors=False, **options)
        except ArpackNoConvergence:
            lowest = -math.inf
        return row.new_tensor(lowest)

    def magnitude(self):
        """Size of the terms of ψ_r(u) per length of u, to judge rounding by."""
        return self.ratio * self.network.magnitude()

    def row_entries(self, n_features):
        """As the trained network."""
        return self.network.row_entries(n_features)

    def forward(self, u):
        """ψ_r(u)."""
        return self._weighted(self.network(u), self.known(u))

    def jacobian(self, u):
        """Dψ_r(u)."""
        return self._weighted(self.network.jacobian(u), self.known.matrix(u))

    def call_and_slopes(self, u):
        """ψ_r(u), and the slopes of the units of ψ."""
        image, slopes = self.network.blocks[0].call_and_slopes(u)
        return self._weighted(image, self.known(u)), slopes

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
        return lambda v: self._weighted(product(v), self.known(v))

    def _weighted(self, trained, linear):
        return linear + self.ratio * (trained - linear)


@dataclass
class AdaptedMap(TrainedMap):
    """φ_r in the user's units; its inverse starts from that of φ and changes r in steps."""

    network: AdaptedNetwork

    @property
    def advice(self):
        """What to do about rows that have not converged, or where the map is not monotone."""
        return (
            "The map is not monotone there at this noise level: what is returned is one of several "
            "solutions, or none. Ask for a lower noise_level, or train at this one."
        )

    def _invert(self, w):
        """ψ_r⁻¹(w), by continuation in the weight from 1 to r.

        A row counts as converged only if ψ_r is monotone at its first and last point and half way.
        """
        trained, known, ratio = self.network.network, self.network.known, self.network.ratio
        found = invert(trained, w)
        start = found.x
        n_steps = max(1, math.ceil(math.log(ratio) / math.log(_GROWTH)))
        for step in range(1, n_steps + 1):
            network = AdaptedNetwork(trained, known, ratio ** (step / n_steps))
            found = invert(network, w, start=found.x)
        if ratio > 1 and not self.network.surely_monotone():
            frozen = self.network.frozen()
            for share in (0.0, 0.5, 1.0):
                points = start + share * (found.x - start)
                found.converged &= frozen.lowest_slopes(points) > 0
        return found
