"""The trained network in the user's units: φ, its inverse and its derivatives, row by row."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.func import vjp

from ..inversion import invert
from ..networks import IResNet
from ..numerics.threads import single_thread
from ..problem.coordinates import Units

__all__ = ["ForwardMap"]

_CHUNK_ROWS = 4096  # rows that are worked on at once, ...
_CHUNK_ENTRIES = 2**22  # ... fewer where their Jacobians would have more entries


@dataclass
class ForwardMap:
    """φ(x) = z̄ + s a ψ((x − x̄)/s), for a network ψ in unit scale.

    Arrays come in and go out in float64 or float32; all is computed in double precision, in chunks
    that bound the memory.

    Attributes
    ----------
    network : IResNet
        The trained network ψ, in double precision.
    units : Units
        The units x̄, z̄, s and a.
    """

    network: IResNet
    units: Units

    def forward(self, X):
        """φ(x), of shape (n_samples, n_features)."""

        def forward(rows):
            return self.units.to_targets(self.network(self._unit_signals(rows)).cpu().numpy())

        return self._rows(forward, X, X.shape[1:])

    def jacobian(self, X):
        """Dφ(x) = a Dψ(u), of shape (n_samples, n_features, n_features)."""

        def jacobian(rows):
            unit = self.network.jacobian(self._unit_signals(rows))
            return self.units.forward_norm * unit.cpu().numpy()

        return self._rows(jacobian, X, 2 * X.shape[1:], self._jacobian_rows)

    def logabsdet_gradient(self, X):
        """∇log|det Dφ(x)|, of shape (n_samples, n_features)."""

        def gradient(rows):
            u = self._unit_signals(rows).requires_grad_()
            with torch.enable_grad():
                (unit,) = torch.autograd.grad(self.network.logabsdet(u).sum(), u)
            return unit.cpu().numpy() / self.units.signal_scale

        return self._rows(gradient, X, X.shape[1:], self._jacobian_rows)

    def precision_product(self, X, factor=None):
        """Multiplication by the symmetric parts of ``Aᵀ Dφ(x)``, without forming them.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Points.
        factor : Operator of shape (n_features, n_features), default=None
            The A; the identity by default.

        Returns
        -------
        product : callable
            Multiplies a Tensor of shape (n_samples, n_features), row by row.
        """
        u = self._unit_signals(X)
        if factor is None and self.network.positive_definite:
            product = self.network.frozen().adjoint_product(u)
            return lambda v: self.units.forward_norm * product(v)
        A = None if factor is None else torch.from_numpy(factor.to_dense()).to(u)
        _, pull_back = vjp(self.network.frozen(), u)
        # transposed once more: Dφ itself
        _, push_forward = vjp(lambda v: pull_back(v)[0], torch.zeros_like(u))

        def product(v):
            (forward,) = push_forward(v)
            (backward,) = pull_back(v if A is None else v @ A.T)
            forward = forward if A is None else forward @ A
            return self.units.forward_norm * (forward + backward) / 2

        return product

    def inverse(self, rows, targets):
        """φ⁻¹(targets(rows)).

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_columns)
            What ``targets`` turns into points of z-space.
        targets : callable
            Map of (n_samples, n_columns) to (n_samples, n_features).

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Signals.
        residual : ndarray of shape (n_samples,)
            The norms ``‖φ(x) − z‖``.
        converged : ndarray of shape (n_samples,)
            Whether the inversion of the row can be trusted.
        """
        residuals, converged = [], []

        def inverse(part):
            unit = torch.from_numpy(self.units.from_targets(targets(part))).to(self.network.device)
            found = self._invert(unit)
            residuals.append(found.residual.cpu().numpy())
            converged.append(found.converged.cpu().numpy())
            return self.units.to_signals(found.x.cpu().numpy())

        X = self._rows(inverse, rows, self.units.signal_mean.shape)
        return X, self.units.target_scale * np.concatenate(residuals), np.concatenate(converged)

    def _invert(self, w):
        return invert(self.network, w)

    @property
    def _jacobian_rows(self):
        return max(1, min(_CHUNK_ROWS, _CHUNK_ENTRIES // len(self.units.signal_mean) ** 2))

    @property
    def advice(self):
        """What to do about rows whose inversion did not converge."""
        return (
            "Lower lipschitz and fit again, or check these rows: they may lie far outside the "
            "training data."
        )

    def _unit_signals(self, rows):
        return torch.from_numpy(self.units.from_signals(rows)).to(self.network.device)

    def _rows(self, function, rows, shape, chunk=None):
        """Apply a map of rows, whose results have this shape each, to chunks of them."""
        chunk = chunk or _CHUNK_ROWS
        result = np.empty((len(rows), *shape), dtype=rows.dtype)
        with single_thread(), torch.no_grad():
            for start in range(0, len(rows), chunk):
                part = slice(start, start + chunk)
                values = function(rows[part].astype(np.float64))
                if np.abs(values).max() > np.finfo(result.dtype).max:
                    raise ValueError(
                        f"Results as large as {np.abs(values).max():.3g} do not fit into "
                        f"{result.dtype}. Check the rows that were given, or pass float64."
                    )
                result[part] = values
        return result
