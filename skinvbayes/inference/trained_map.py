"""The trained network in the user's units: φ, its inverse and its derivatives, row by row."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch.func import vjp

from ..inversion import InvertibleMap, invert
from ..numerics import chunks
from ..numerics.progress import tracked
from ..numerics.tensors import as_tensor
from ..numerics.threads import single_thread
from ..numerics.warn import warn_caller
from ..problem.coordinates import Coordinates

__all__ = ["TrainedMap", "named_rows"]


@dataclass
class TrainedMap:
    """φ(x) = z̄ + s B⁻ᵀ ψ(u) with x = x̄ + s B u, for a network ψ.

    Arrays come in and go out in float64 or float32. Everything is computed in double precision, in
    chunks of rows that bound the memory.

    Attributes
    ----------
    network : InvertibleMap
        The trained network ψ, in double precision.
    coordinates : Coordinates
        The x̄, z̄, s and B.
    variance : float
        Variance of the noise of the training, in the coordinates of ψ.
    """

    network: InvertibleMap
    coordinates: Coordinates
    variance: float

    def forward(self, X):
        """φ(x), of shape (n_samples, n_features).

        Where the network is given by its inverse, rows that do not converge raise a warning.
        """
        inverse, failed = self.network.explicit_inverse, []

        def forward(rows):
            u = self._unit_signals(rows)
            if inverse is None:
                image = self.network.frozen()(u)
            else:
                found = invert(inverse, u)
                image = found.x
                failed.append(~found.converged.cpu().numpy())
            return self.coordinates.to_targets(image.cpu().numpy())

        Z = self._rows(forward, X, X.shape[1:], what="forward map")
        if failed and np.concatenate(failed).any():
            rows = np.flatnonzero(np.concatenate(failed))
            warn_caller(
                f"The forward map was not found for {len(rows)} of {len(X)} rows "
                f"({named_rows(rows)}). {self.advice}",
                ConvergenceWarning,
            )
        return Z

    def jacobian(self, X, Z=None):
        """Dφ(x), of shape (n_samples, n_features, n_features); with φ(x), where that is known."""
        network = self.network.frozen()

        def jacobian(rows):
            u = self._unit_signals(rows[:, : X.shape[1]])
            if Z is None:
                unit = network.jacobian(u)
            else:
                w = self.coordinates.from_targets(rows[:, X.shape[1] :])
                unit = network.jacobian_at_image(u, as_tensor(w).to(u))
            return self.coordinates.to_jacobian(unit.cpu().numpy())

        rows = X if Z is None else np.hstack([X, Z])
        return self._rows(jacobian, rows, 2 * X.shape[1:], self._jacobian_rows, what="Jacobians")

    def logabsdet_gradient(self, X):
        """∇log|det Dφ(x)|, of shape (n_samples, n_features)."""

        def gradient(rows):
            u = self._unit_signals(rows).requires_grad_()
            with torch.enable_grad():
                (unit,) = torch.autograd.grad(self.network.frozen().logabsdet(u).sum(), u)
            return self.coordinates.to_signal_gradient(unit.cpu().numpy())

        return self._rows(gradient, X, X.shape[1:], self._jacobian_rows, what="gradients")

    def precision_product(self, X, factor=None, dtype=torch.float64):
        """Multiplication by the symmetric parts of ``Aᵀ Dφ(x)``, without forming them.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Points.
        factor : Operator of shape (n_features, n_features), default=None
            The A; the identity by default.
        dtype : torch.dtype, default=torch.float64
            The precision, for networks that compute in any.

        Returns
        -------
        product : callable
            Multiplies a Tensor of shape (n_samples, n_features), row by row.
        """
        u, network = self._unit_signals(X).to(dtype), self.network.frozen()
        if factor is None and network.positive_definite:
            return self.coordinates.to_product(network.adjoint_product(u))
        if network.explicit_inverse is not None or not self._is_isotropic:
            return self._dense_product(X, factor)
        A = None if factor is None else as_tensor(factor.to_dense()).to(u)
        _, pull_back = vjp(network, u)
        # the adjoint of the adjoint is the product with Dφ itself
        _, push_forward = vjp(lambda v: pull_back(v)[0], torch.zeros_like(u))

        def product(v):
            (forward,) = push_forward(v)
            (backward,) = pull_back(v if A is None else v @ A.T)
            forward = forward if A is None else forward @ A
            return self.coordinates.to_jacobian(forward + backward) / 2

        return product

    def _dense_product(self, X, factor):
        """The same by matrices."""
        parts = chunks.slices(len(X), self._jacobian_rows)
        of_rows = (replace(self, network=self.network.rows(part)) for part in parts)
        J = np.concatenate([map_.jacobian(X[p]) for map_, p in zip(of_rows, parts, strict=True)])
        J = J if factor is None else factor.to_dense().T @ J
        J = as_tensor((J + J.transpose(0, 2, 1)) / 2)
        return lambda v: torch.einsum("nij,nj->ni", J.to(v), v)

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
            Norms of ``ψ(u) − w``, in the coordinates of the network.
        converged : ndarray of shape (n_samples,)
            Whether the inversion of the row can be trusted.
        """
        residuals, converged = [], []

        def inverse(part):
            unit = as_tensor(self.coordinates.from_targets(targets(part)))
            found = self.for_rows(part)._invert(unit.to(self.network.device))
            residuals.append(found.residual.cpu().numpy())
            converged.append(found.converged.cpu().numpy())
            return self.coordinates.to_signals(found.x.cpu().numpy())

        shape, size = self.coordinates.signal_mean.shape, self._inversion_rows
        X = self._rows(inverse, rows, shape, size, what="reconstruction")
        return X, np.concatenate(residuals), np.concatenate(converged)

    def for_rows(self, rows):
        """The map of some rows of measurements, which may differ from row to row; here it does not.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_measurements)
            Measurements.
        """
        return self

    def reconstruct(self, rows, targets):
        """As :meth:`inverse`, but only the signals; rows that do not converge raise a warning."""
        X, residual, converged = self.inverse(rows, targets)
        if not converged.all():
            failed = np.flatnonzero(~converged)
            largest = self._residual_scale * residual[failed].max()
            warn_caller(
                f"The inversion of {len(failed)} of {len(rows)} rows did not converge"
                f"{self.to_what} ({named_rows(failed)}); the largest residual is "
                f"{largest:.3g}. {self.advice}",
                ConvergenceWarning,
            )
        return X

    to_what = ""  # rows that count as not converged did not converge to

    @property
    def advice(self):
        """What to do about rows whose inversion did not converge."""
        return (
            "Lower lipschitz and fit again, or check these rows: they may lie far outside the "
            "training data."
        )

    def _invert(self, w):
        return invert(self.network, w, noise=self.variance**0.5)

    @property
    def _is_isotropic(self):
        return self.coordinates.isotropic_norm is not None

    @property
    def _residual_scale(self):
        """The largest factor by which a residual grows from the network's coordinates to z."""
        inverse_basis = np.atleast_2d(self.coordinates.inverse_basis)
        return self.coordinates.scale * np.linalg.norm(inverse_basis, 2)

    @property
    def _inversion_rows(self):
        return chunks.MOST_ROWS

    @property
    def _jacobian_rows(self):
        return chunks.chunk_size(self.coordinates.n_features**2)

    def _unit_signals(self, rows):
        return as_tensor(self.coordinates.from_signals(rows)).to(self.network.device)

    def _rows(self, function, rows, shape, size=None, *, what):
        """Apply a map of rows, whose results have this shape each, to chunks of them.

        The progress display calls the results ``what``.
        """
        result = np.empty((len(rows), *shape), dtype=rows.dtype)
        with single_thread(), torch.no_grad():
            for part in tracked(chunks.slices(len(rows), size or chunks.MOST_ROWS), what):
                values = function(rows[part].astype(np.float64))
                _check_range(values, result.dtype, part.start)
                result[part] = values
        return result


def _check_range(values, dtype, start):
    """Raise a ValueError that names the rows whose results are too large for a dtype."""
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    too_large = np.flatnonzero(largest > np.finfo(dtype).max)
    if len(too_large):
        raise ValueError(
            f"Results as large as {largest.max():.3g} do not fit into {dtype} "
            f"({named_rows(start + too_large)}). Check these rows, or pass float64."
        )


def named_rows(indices):
    """The numbers of some rows, at most five of them, as text for a message."""
    return f"rows {', '.join(map(str, indices[:5]))}" + (", …" if len(indices) > 5 else "")
