"""Linear algebra by products alone: solutions and roots of symmetric positive definite matrices.

A matrix is a function that multiplies a batch of vectors, of shape (n_samples, n_features), row i
by the i-th of n_samples different matrices.
"""

import torch

__all__ = ["conjugate_gradients", "lowest_eigenvalues", "matrix_power"]

_CHECK = 5  # steps of Lanczos' method between two tests of convergence


def conjugate_gradients(
    product, b, *, tol=1e-6, max_iter=1000, precondition=None, report=None, verified=True
):
    """Solve P x = b for every row, by conjugate gradients.

    Parameters
    ----------
    product : callable
        Multiplication by symmetric positive definite matrices P.
    b : Tensor of shape (n_samples, n_features)
        Right-hand sides.
    tol : float, default=1e-6
        Largest residual, relative to b, that counts as converged.
    max_iter : int, default=1000
        Largest number of products.
    precondition : callable, default=None
        Multiplication by matrices near P⁻¹, symmetric positive definite too.
    report : callable, default=None
        Called in every step with the norms of the residuals at the start, now, and to be reached.
    verified : bool, default=True
        Whether one product more finds the residual; otherwise it is that of the recursion.

    Returns
    -------
    x : Tensor of shape (n_samples, n_features)
        Solutions.
    residual : Tensor of shape (n_samples,)
        ``‖P x − b‖ / ‖b‖`` of every row.

    References
    ----------
    M. R. Hestenes and E. Stiefel (1952), "Methods of conjugate gradients for solving linear
    systems", Journal of Research of the National Bureau of Standards.
    """
    x, residual = torch.zeros_like(b), b
    size = b.norm(dim=1)
    direction = slope = None
    for _ in range(max_iter):
        left = residual.norm(dim=1)
        going = left > tol * size
        if report is not None:
            report(size, left, tol * size)
        if not going.any():
            break
        descent = residual if precondition is None else precondition(residual)
        old, slope = slope, (residual * descent).sum(1)
        direction = descent if old is None else descent + _ratio(slope, old, going) * direction
        image = product(direction)
        step = _ratio(slope, (direction * image).sum(1), going)
        x += step * direction
        residual = residual - step * image  # not in place: the direction may be the same tensor
    if verified:
        residual = product(x) - b
    return x, residual.norm(dim=1) / size.clamp(min=torch.finfo(b.dtype).tiny)


def matrix_power(product, b, power, *, tol=1e-6, max_iter=300, report=None):
    """``Pᵖ b`` for every row, such as p = ½ for a square root, by Lanczos' method.

    Parameters
    ----------
    product : callable
        Multiplication by symmetric positive definite matrices P.
    b : Tensor of shape (n_samples, n_features)
        Vectors.
    power : float
        The power p.
    tol : float, default=1e-6
        The steps of a row end when its result changes by no more than this fraction.
    max_iter : int, default=300
        Largest number of products.
    report : callable, default=None
        Called now and then with a relative change of one, that of every row, and that to be
        reached.

    Returns
    -------
    x : Tensor of shape (n_samples, n_features)
        The products.
    change : Tensor of shape (n_samples,)
        Relative change of every row in the last steps.

    References
    ----------
    Y. Saad (1992), "Analysis of some Krylov subspace approximations to the matrix exponential
    operator", SIAM Journal on Numerical Analysis.
    """
    tiny = torch.finfo(b.dtype).tiny
    size = b.norm(dim=1, keepdim=True).clamp(min=tiny)
    x, n_steps = torch.zeros_like(b), min(max_iter, b.shape[1])
    change = torch.full_like(size[:, 0], torch.inf)
    for step, (basis, tridiagonal) in enumerate(_lanczos(product, b / size, n_steps), start=1):
        if step % _CHECK == 0 or step == n_steps:
            going = ~(change <= tol)  # rows that have ended keep their result
            new = size * _combine(basis, tridiagonal(), power)
            new_change = (new - x).norm(dim=1) / new.norm(dim=1).clamp(min=tiny)
            x = torch.where(going[:, None], new, x)
            change = torch.where(going, new_change, change)
            if report is not None:
                # changes fall late, and the steps are known to end
                latest = change.clamp(max=tol ** (step / n_steps))
                report(torch.ones_like(change), latest, torch.full_like(change, tol))
            if (change <= tol).all():
                break
    exact = n_steps == b.shape[1] and step == n_steps
    return x, torch.zeros_like(change) if exact else change


def lowest_eigenvalues(product, start, *, tol=1e-2, max_iter=200):
    """The lowest eigenvalue of every row's matrix, by Lanczos' method; its sign is what counts.

    The estimates come from above: a negative one proves that the matrix is indefinite, and ends the
    steps of its row.

    Parameters
    ----------
    product : callable
        Multiplication by symmetric matrices.
    start : Tensor of shape (n_samples, n_features)
        Vectors to start from, such as random ones.
    tol : float, default=1e-2
        The steps end when no positive estimate changes by more than this fraction.
    max_iter : int, default=200
        Largest number of products.

    Returns
    -------
    lowest : Tensor of shape (n_samples,)
        The estimates; −∞ where they had not settled.
    """
    n_steps = min(max_iter, start.shape[1])
    unit = start / start.norm(dim=1, keepdim=True)
    lowest = torch.full_like(unit[:, 0], torch.inf)
    settled = torch.zeros_like(lowest, dtype=torch.bool)
    for step, (_, tridiagonal) in enumerate(_lanczos(product, unit, n_steps), start=1):
        if step % _CHECK == 0 or step == n_steps:
            before, lowest = lowest, torch.linalg.eigvalsh(tridiagonal())[:, 0]
            settled = (lowest < 0) | (before - lowest <= tol * lowest)
            if settled.all():
                break
    settled |= step == start.shape[1]
    return torch.where(settled, lowest, -torch.inf)


def _lanczos(product, unit, n_steps):
    """The steps of Lanczos' method: the basis so far, and a function that gives the matrix T.

    The basis is a list of Tensors of shape (n_samples, n_features), T tridiagonal for each row.
    """
    basis, diagonal, off_diagonal = [unit], [], []
    for _ in range(n_steps):
        image = product(basis[-1])
        diagonal.append((image * basis[-1]).sum(1))
        yield basis, lambda: _tridiagonal(diagonal, off_diagonal)
        stacked = torch.stack(basis, dim=1)
        for _ in range(2):  # once is not enough (Kahan and Parlett)
            overlap = torch.einsum("nkd,nd->nk", stacked, image)
            image = image - torch.einsum("nk,nkd->nd", overlap, stacked)
        norm = image.norm(dim=1, keepdim=True)
        off_diagonal.append(norm[:, 0])
        basis.append(image / norm.clamp(min=torch.finfo(unit.dtype).tiny))


def _tridiagonal(diagonal, off_diagonal):
    T = torch.diag_embed(torch.stack(diagonal, dim=1))
    if off_diagonal:
        off = torch.stack(off_diagonal, dim=1)
        T = T + torch.diag_embed(off, offset=1) + torch.diag_embed(off, offset=-1)
    return T


def _combine(basis, T, power):
    """``V Tᵖ e₁`` with the tridiagonal matrix T."""
    spectrum, axes = torch.linalg.eigh(T)
    finfo = torch.finfo(T.dtype)
    smallest = (finfo.eps * spectrum[:, -1:].abs()).clamp(min=finfo.tiny)
    weights = torch.maximum(spectrum, smallest).pow(power) * axes[:, 0]
    coefficients = torch.einsum("nkj,nj->nk", axes, weights)
    return torch.einsum("nk,nkd->nd", coefficients, torch.stack(basis, dim=1))


def _ratio(numerator, denominator, where):
    return torch.where(where, numerator / denominator, torch.zeros_like(numerator))[:, None]
