"""The inverse φ⁻¹ of an invertible map, with a residual for every sample.

A fast method goes first (:mod:`skinvbayes.inversion.chord`), a robust one takes over the rows that
it leaves (:mod:`skinvbayes.inversion.newton`).

1. Fast: Newton's method, with steps halved that lead too far, where Jacobians cost next to
   nothing; else the chord method. Of fewer hidden units than features it iterates on the units
   (:class:`skinvbayes.inversion.hidden_units.HiddenUnits`); by products alone
   it takes quasi-Newton steps (:mod:`skinvbayes.inversion.quasi_newton`).
2. Robust: Newton's method with a step-length test; of many features and with symmetric positive
   definite Jacobians by conjugate gradients.

Every row has its own tolerance and its own steps: what stands beside it does not matter.

References
----------
D. G. Anderson (1965), "Iterative procedures for nonlinear integral equations", Journal of the ACM;
J. M. Ortega and W. C. Rheinboldt (1970), "Iterative solution of nonlinear equations in several
variables".
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ..numerics.chunks import chunk_size
from ..numerics.progress import tracked
from ..numerics.threads import single_thread
from .chord import Equation
from .invertible import InvertibleMap
from .newton import METHODS, polish
from .settings import SETTINGS

__all__ = ["Inversion", "invert"]


@dataclass
class Inversion:
    """What an inversion found.

    Attributes
    ----------
    x : Tensor of shape (n_samples, n_features)
        The preimages.
    residual : Tensor of shape (n_samples,)
        ``‖φ(x) − z‖`` of every sample.
    n_iter : Tensor of shape (n_samples,)
        Number of steps that every sample took, over all blocks.
    converged : Tensor of shape (n_samples,)
        Whether the tolerance was met.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.inversion import invert
    >>> from skinvbayes.networks import IResNet
    >>> inversion = invert(IResNet(2).double(), torch.ones(5, 2, dtype=torch.float64))
    >>> bool(inversion.residual.max() < 1e-12)
    True
    """

    x: torch.Tensor
    residual: torch.Tensor
    n_iter: torch.Tensor
    converged: torch.Tensor


@torch.no_grad()
def invert(
    network: InvertibleMap,
    z: Tensor,
    *,
    start: Tensor | None = None,
    method: str = "newton",
    tol: float | None = None,
    noise: float = 0.0,
    max_iter: int = SETTINGS.max_iter,
) -> Inversion:
    """Solve φ(x) = z, block by block from the last to the first.

    Parameters
    ----------
    network : InvertibleMap
        The map φ.
    z : Tensor of shape (n_samples, n_features)
        Points to invert; never modified.
    start : Tensor of shape (n_samples, n_features), default=None
        First guess of x; by default every block starts from its output, or from the solution of its
        linearisation around the middle of its reference points, where that is cheap.
    method : {"newton", "fixed_point"}, default="newton"
        The fast method and then Newton's, or Banach's iteration ``x ← x − (φ(x) − z)/c``, which
        converges with the factor Lip(f).
    tol : float, default=None
        Largest residual of a row that counts as converged, relative to ``max(‖z‖, 1)`` of this row
        (z is in unit scale), or to the terms that φ(x) is the sum of where these are larger; by
        default 1e-6 in single and 2e-14 in double precision, and no less than the ``tolerance`` of
        the map.
    noise : float, default=0
        Standard deviation of the noise of z. Where the map has a ``noise_tolerance``, a residual of
        this share of the noise counts as converged, too.
    max_iter : int, default=200
        Largest number of steps for each block.

    Returns
    -------
    inversion : Inversion
        Preimages, residuals, iteration counts and convergence.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.inversion import invert
    >>> from skinvbayes.networks import IResNet
    >>> network = IResNet(2).double()
    >>> found = invert(network, torch.ones(5, 2, dtype=torch.float64))
    >>> found.x.shape, bool(found.converged.all())
    (torch.Size([5, 2]), True)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {sorted(METHODS)}; got {method!r}.")
    if network.explicit_inverse is not None:
        return _evaluate(network.frozen().explicit_inverse, z)
    if tol is None:
        tol = max(SETTINGS.tolerance_of(z.dtype), network.tolerance)
    least = network.noise_tolerance * noise * z.shape[1] ** 0.5
    return _invert_chunks(network, z, start, (tol, least), METHODS[method], max_iter)


def _invert_chunks(network, z, start, tolerances, method, max_iter):
    """The preimages of all rows, a chunk after the other."""
    size = chunk_size(network.row_entries(z.shape[1]))
    parts = z.contiguous().split(size)  # so that sums do not depend on the layout
    guesses = len(parts) * [None] if start is None else start.split(size)
    with single_thread():
        network = network.frozen()
        maps = [network.rows(slice(k * size, (k + 1) * size)) for k in range(len(parts))]
        rows = list(zip(maps, parts, guesses, strict=True))
        found = [
            _invert_chunk(map_, part, guess, *tolerances, method, max_iter)
            for map_, part, guess in tracked(rows, "reconstruction")
        ]
    return Inversion(*(torch.cat(field) for field in zip(*found, strict=True)))


def _evaluate(inverse, z):
    """The inverse where it is known: nothing is solved, and nothing is left."""
    with single_thread():
        x = inverse(z)
    n_iter = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    return Inversion(x, torch.zeros_like(z[:, 0]), n_iter, torch.isfinite(x).all(dim=1))


def _invert_chunk(network, z, start, tol, least, method, max_iter):
    """Preimages, residuals, steps and verdicts for rows that are inverted at once."""
    x, n_iter = z, torch.zeros(len(z), dtype=torch.int64, device=z.device)
    blocks = tuple(network.blocks)
    several = len(blocks) > 1
    references = _inputs(blocks, network.reference_points(z))
    guesses = len(blocks) * [None] if start is None else _inputs(blocks, start)
    threshold = (tol * vector_norm(z, dim=1).clamp(min=1)).clamp(min=least)
    # What the blocks leave adds up like independent errors.
    share = SETTINGS.safety_factor * threshold / len(blocks) ** 0.5
    for block, guess, reference in zip(blocks[::-1], guesses[::-1], references[::-1], strict=True):
        x, steps, residual = method(Equation(block, x, guess, reference, share), max_iter)
        n_iter = n_iter + steps
        if several:  # The block amplifies what is left, by about its magnitude.
            share = share / block.magnitude().clamp(min=1)
    if several:
        x, steps, residual = polish(network, z, x, threshold, max_iter)
        n_iter = n_iter + steps
    converged = residual <= threshold
    if not converged.all():
        terms = network.magnitude().to(z) * vector_norm(x, dim=1)
        rounding = SETTINGS.tolerated * torch.finfo(z.dtype).eps
        converged |= residual <= max(tol, rounding) * terms
    return x, residual, n_iter, converged


def _inputs(blocks, x):
    """The input of every block, from that of the first."""
    inputs = [x]
    for block in blocks[:-1]:
        inputs.append(block(inputs[-1]))
    return inputs
