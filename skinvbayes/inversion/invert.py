"""The inverse φ⁻¹ of an invertible residual network, with a residual for every sample.

A fast method goes first, a robust one takes over the rows that it leaves.

1. Fast: Newton's method without a step-length test where Jacobians cost next to nothing; else the
   chord method, Newton's with one averaged Jacobian for all rows, and Anderson's mixing with the
   step before. Of fewer hidden units than features it iterates on the units
   (:class:`skinvbayes.inversion.hidden_units.HiddenForm`); by products alone it majorises and minimises.
2. Robust: Newton's method with a step-length test; of many features and with symmetric positive
   definite Jacobians by conjugate gradients.

References
----------
D. G. Anderson (1965), "Iterative procedures for nonlinear integral equations", Journal of the ACM;
J. M. Ortega and W. C. Rheinboldt (1970), "Iterative solution of nonlinear equations in several
variables"; D. R. Hunter and K. Lange (2004), "A tutorial on MM algorithms", The American
Statistician.
"""

from dataclasses import dataclass
from functools import partial

import torch

from ..numerics.jacobians import solve
from ..numerics.krylov import conjugate_gradients
from ..numerics.threads import single_thread

__all__ = ["Inversion", "implicit_inverse", "invert"]

_CHUNK_ROWS = 4096  # inverted at once, fewer where they would have more entries than ...
_CHUNK_ENTRIES = 2**22  # ... which is the size of the largest batch of Jacobians, too
_FEW_FEATURES = 8  # up to so many, Jacobians of all rows cost next to nothing
_FAST_STEPS = 30
_PATIENCE = 4  # steps of the fast method, in which the largest residual has to fall ...
_GAIN, _GAIN_BEFORE_CHEAP = 0.5, 0.05  # ... so far, where the robust method is dear or cheap
_MAJORISING_STEPS, _MATRIX_FREE_FORCING = 6, 0.3  # by products alone
_FORCING = 0.05  # relative residual of Newton's equations by conjugate gradients
_TOLERANCE = {torch.float32: 8, torch.float64: 100}  # default, in units of rounding
_TRAINING_TOLERANCE = {torch.float32: 50, torch.float64: 100}  # the same in training
# in training by products alone, of the residual at the start, and of the equations for the gradient
_MATRIX_FREE_TRAINING, _MATRIX_FREE_ADJOINT = 1e-2, 5e-2
_ADJOINT = 0.5  # power of the unit of rounding: relative residual of the equations for the gradient
_SURELY = 0.9  # of the tolerance: evaluated in another way, φ(x) has other rounding errors
_SHORTEST_STEP = 2.0**-20
_ARMIJO = 1e-4
_POLISHING_STEPS = 5
# units of rounding of the terms that φ(x) is the sum of: no residual gets smaller; the robust
# method takes no step; nobody is warned
_FLOOR, _ROUNDING, _TOLERATED = 0.25, 4, 30


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
    """

    x: torch.Tensor
    residual: torch.Tensor
    n_iter: torch.Tensor
    converged: torch.Tensor


@torch.no_grad()
def invert(network, z, *, start=None, method="newton", tol=None, max_iter=200):
    """Solve φ(x) = z, block by block from the last to the first.

    Parameters
    ----------
    network : IResNet
        The map φ.
    z : Tensor of shape (n_samples, n_features)
        Points to invert; never modified.
    start : Tensor of shape (n_samples, n_features), default=None
        First guess of x; by default every block starts from its output, or from the solution of its
        linearisation around the middle of its outputs, where that is cheap.
    method : {"newton", "fixed_point"}, default="newton"
        The chord method and then Newton's, see :mod:`skinvbayes.inversion.invert`, or Banach's iteration
        ``x ← x − (φ(x) − z)/c``, which converges with the factor Lip(f).
    tol : float, default=None
        Largest residual that counts as converged, relative to the root mean square of z's rows, or
        to the terms that φ(x) is the sum of where these are larger; by default 1e-6 in single and
        2e-14 in double precision, and no less than the ``tolerance`` of the block.
    max_iter : int, default=200
        Largest number of steps for each block.

    Returns
    -------
    inversion : Inversion
        Preimages, residuals, iteration counts and convergence.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {sorted(_METHODS)}; got {method!r}.")
    if tol is None:
        tol = max(_TOLERANCE[z.dtype] * torch.finfo(z.dtype).eps, network.blocks[0].tolerance)
    size = max(1, min(_CHUNK_ROWS, _CHUNK_ENTRIES // network.blocks[0].width(z.shape[1])))
    parts = z.contiguous().split(size)  # so that sums do not depend on the layout
    guesses = len(parts) * [None] if start is None else start.split(size)
    with single_thread(), network.frozen():
        threshold = tol * z.square().sum(1).mean().sqrt().clamp(min=torch.finfo(z.dtype).tiny)
        chunks = [
            _invert_chunk(network, part, guess, tol, threshold, _METHODS[method], max_iter)
            for part, guess in zip(parts, guesses, strict=True)
        ]
    return Inversion(*(torch.cat(field) for field in zip(*chunks, strict=True)))


def implicit_inverse(network, z, start):
    """φ⁻¹(z) with the gradient of the implicit function theorem, nothing unrolled.

    Where φ(x) = z, the gradient g of a loss in x is that of −⟨φ(x), λ⟩ in the parameters of φ and λ
    in z, with the adjoint λ = (Dφ)⁻ᵀ g.

    Parameters
    ----------
    network : IResNet
        The map φ.
    z : Tensor of shape (n_samples, n_features)
        Points to invert.
    start : Tensor of shape (n_samples, n_features)
        First guess.

    Returns
    -------
    x : Tensor of shape (n_samples, n_features)
        Preimages, differentiable in the parameters of φ.
    """
    with network.frozen(gradient=True):
        tol = _training_tolerance(network, z, start)
        preimages = [invert(network, z, start=start, tol=tol).x]  # of the output of every block
        with torch.no_grad():
            for block in network.blocks[:-1]:
                preimages.append(block(preimages[-1]))
        for block, x in zip(reversed(network.blocks), reversed(preimages), strict=True):
            with block.frozen() as constants:
                z = _ImplicitStep.apply(block(x), z, x, block, constants)
    return z


@torch.no_grad()
def _training_tolerance(network, z, start):
    tol = _TRAINING_TOLERANCE[z.dtype] * torch.finfo(z.dtype).eps
    if not network.blocks[0].matrix_free:
        return tol
    # the start is the truth, from which the noise leads away: a part of that, however small it is
    share = (network(start) - z).norm() / z.norm().clamp(min=_tiny(z))
    return max(tol, _MATRIX_FREE_TRAINING * float(share))


class _ImplicitStep(torch.autograd.Function):
    """The solution x of φ(x) = z as a function of φ(x), at this x, and of z."""

    @staticmethod
    def forward(ctx, image, z, x, block, constants):
        ctx.block, ctx.constants = block, constants
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        with single_thread(), torch.no_grad(), ctx.block.frozen(constants=ctx.constants):
            adjoint = _solve_adjoint(ctx.block, x, gradient)
        return -adjoint, adjoint, None, None, None


def _invert_chunk(network, z, start, tol, threshold, method, max_iter):
    guesses = [start]  # of the input of every block, from the guess of x if there is one
    for block in network.blocks[:-1]:
        guesses.append(None if start is None else block(guesses[-1]))
    x, n_iter = z, torch.zeros(len(z), dtype=torch.int64, device=z.device)
    several = len(network.blocks) > 1
    # what the blocks leave adds up like independent errors
    share = _SURELY * threshold / len(network.blocks) ** 0.5
    for block, guess in zip(reversed(network.blocks), reversed(guesses), strict=True):
        x, steps, residual = method(block, x, guess, share, max_iter)
        n_iter = n_iter + steps
        if several:  # the block amplifies what is left; about so much, at worst twice as much
            share = share / block.magnitude().clamp(min=1)
    if several:
        step = partial(_newton_step, direction=_directly)
        x, steps, residual = _iterate(
            network, z, x, threshold, step, min(max_iter, _POLISHING_STEPS)
        )
        n_iter = n_iter + steps
    converged = residual <= threshold
    if not converged.all():
        terms = network.magnitude() * x.norm(dim=1)
        converged |= residual <= max(tol, _TOLERATED * torch.finfo(z.dtype).eps) * terms
    return x, residual, n_iter, converged


def _newton(block, z, start, threshold, max_iter):
    rounding = _rounding(z)
    inner = (rounding if start is None else _rounding(start)) * block.magnitude()
    threshold = torch.maximum(threshold, torch.maximum(rounding, inner))
    n_fast = min(_FAST_STEPS, max_iter // 2)
    x, n_iter, residual = _approach(block, z, start, threshold, n_fast)
    left = ~(residual <= threshold)
    if left.any():
        step = partial(_newton_step, direction=_direction(block, x))
        found = _iterate(block, z[left], x[left], threshold, step, max_iter - n_fast)
        x[left], steps, residual[left] = found
        n_iter[left] += steps
    return x, n_iter, residual


def _rounding(rows):
    """The residual that rounding leaves where terms of the size of these rows add up."""
    return _FLOOR * torch.finfo(rows.dtype).eps * rows.square().sum(1).mean().sqrt()


def _fixed_point(block, z, start, threshold, max_iter):
    start = z if start is None else start
    return _iterate(block, z, start, threshold, _fixed_point_step, max_iter)


_METHODS = {"newton": _newton, "fixed_point": _fixed_point}


# ------------------------------------------------------------------------------- the fast method


def _approach(block, z, start, threshold, max_iter):
    """As far as the fast method gets: the points, the steps taken and the residuals."""
    few, no_guess = z.shape[1] <= _FEW_FEATURES, start is None
    start = z if no_guess else start
    if block.matrix_free:
        n_steps = min(max_iter, _MAJORISING_STEPS) if block.majorant else 0
        solver = _majorising(block)
        return _march(lambda x: (block(x), x), z, solver, start, threshold, n_steps, gain=1.0)
    form = block.hidden_form()
    if form is not None:
        h = form.preactivation(start)
        function, target, inverse = form.equation(z, h)
        limit = torch.maximum(threshold / form.amplification(), _rounding(h))
        h, n_iter, _ = _march(_alone(function), target, _chord(inverse), h, limit, max_iter)
        x = form.solution(z, h)
        return x, n_iter, (block(x) - z).norm(dim=1)
    middle = z.mean(0, keepdim=True)
    at_once = few and block.positive_definite  # a Jacobian for each row
    jacobian = block.jacobian(middle)[0] if at_once else block.mean_jacobian(start)
    inverse = torch.linalg.inv(jacobian).T
    if no_guess and (few or block.positive_definite):
        start = middle + (z - block(middle)) @ inverse
    if not block.positive_definite:
        return _march(_alone(block), z, _chord(inverse), start, threshold, max_iter)

    def function(x):
        image, slopes = block.call_and_slopes(x)
        return image, block.jacobian_from(slopes) if few else slopes

    def newton(residual, jacobian, last):
        return -solve(jacobian, residual), None

    solver = newton if few else _chord(inverse, block.corrected_inverse(inverse, start))
    return _march(function, z, solver, start, threshold, max_iter, gain=_GAIN_BEFORE_CHEAP)


def _alone(function):
    """With nothing that the solver needs to know."""
    return lambda v: (function(v), None)


def _march(function, target, solver, start, threshold, max_iter, *, gain=_GAIN, leave=True):
    """Solve F(v) = function(v) − target = 0 for all rows, without safeguards but for these.

    Rows leave when a quarter of the batch has converged; a row that did not come closer to a
    solution comes back as it was; all ends where the largest residual does not fall fast enough.

    Parameters
    ----------
    function : callable
        From points to its values and what the solver needs to know, a Tensor with the same rows or
        None.
    target : Tensor of shape (n_samples, n)
        The values to reach.
    solver : callable
        From F, what it needs to know, and its own last step and memory to the next ones.
    start : Tensor of shape (n_samples, n)
        First guess.
    threshold : Tensor of shape ()
        The norm of F to stop at.
    max_iter : int
        Largest number of steps.
    gain : float
        The factor by which the largest norm of F has to fall in every four steps.
    leave : bool, default=True
        Whether rows may leave.

    Returns
    -------
    v : Tensor of shape (n_samples, n)
        The points.
    n_iter : Tensor of shape (n_samples,)
        The steps that each row took.
    size : Tensor of shape (n_samples,)
        The norms of F there.
    """
    rows = torch.arange(len(start), device=start.device)
    v, (image, known) = start, function(start)
    residual = image - target
    size = first = torch.linalg.vector_norm(residual, dim=1)
    found = start.clone(), torch.zeros_like(rows), size.clone()
    largest, last = [], None
    for n_steps in range(max_iter + 1):
        converged = size <= threshold
        n_converged = int(converged.sum())
        largest.append(float(size.max()))
        stuck = n_steps >= _PATIENCE and not largest[-1] <= gain * largest[-1 - _PATIENCE]
        end = n_converged == len(rows) or stuck or n_steps == max_iter
        if end:
            closer = size < first
            if not closer.all():
                v = torch.where(closer[:, None], v, start.index_select(0, rows))
                size = torch.where(closer, size, first)
        if end or (leave and 4 * n_converged >= len(rows)):
            for whole, part in zip(found, (v, torch.full_like(rows, n_steps), size), strict=True):
                whole.index_copy_(0, rows, part)
            if end:
                break
            going = (~converged).nonzero()[:, 0]
            state = (rows, v, target, residual, first, known, *(last or ()))
            state = (t if t is None else t.index_select(0, going) for t in state)
            rows, v, target, residual, first, known, *last = state
        step, last = solver(residual, known, last)
        v = v + step
        image, known = function(v)
        residual = image - target
        size = torch.linalg.vector_norm(residual, dim=1)
    return found


def _chord(inverse, corrected=None):
    """Steps −F J̄⁻¹, mixed with the step before as makes the next F smaller if F is linear.

    A better inverse than J̄⁻¹ may be known, which depends on the point.
    """

    def solver(residual, known, last):
        image = residual @ inverse if corrected is None else corrected(residual, known)
        if not last:
            step = -image
            return step, (step, image)
        step, change = last  # their memory is used again
        torch.sub(image, change, out=change)
        squares = torch.linalg.vecdot(change, change).clamp_(min=_tiny(change))
        share = torch.linalg.vecdot(image, change).div_(squares).clamp_(-1, 1).neg_()
        step.sub_(change).mul_(share[:, None]).sub_(image)
        return step, (step, image)

    return solver


def _majorising(block):
    """Steps −H⁻¹ F that lower the convex function of which F is the gradient.

    H is the Hessian of a quadratic function above that one, which it touches where the step starts:
    the length of the step needs no test.
    """

    def solver(residual, x, last):
        return -_solve_loosely(block.majorant(x, torch.float32), residual), None

    return solver


def _solve_loosely(product, residual):
    """By conjugate gradients in single precision, which will do for a step."""
    found, _ = conjugate_gradients(product, residual.float(), tol=_MATRIX_FREE_FORCING)
    return found.to(residual)


def _preconditioner(block, x):
    """Multiplication by the inverse of the averaged Jacobian, unless that is too large to have."""
    if block.matrix_free or block.hidden_form() is not None:
        return None
    inverse = torch.linalg.inv(block.mean_jacobian(x))
    return lambda v: v @ inverse


def _tiny(tensor):
    return torch.finfo(tensor.dtype).tiny


# ------------------------------------------------------------------------------- the robust method


def _iterate(block, z, start, threshold, step, max_iter):
    """Iterate until every row has converged or stalled; such rows leave the batch."""
    x = start.clone()
    n_iter = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    rounding = _ROUNDING * torch.finfo(z.dtype).eps * block.magnitude()
    active = torch.arange(len(z), device=z.device)
    stalled = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    residual = block(x) - z
    sizes = residual.norm(dim=1)
    for _ in range(max_iter):
        limit = torch.maximum(rounding * x[active].norm(dim=1), threshold)
        going = ~(sizes[active] <= limit) & ~stalled
        active, residual = active[going], residual[going]
        if len(active) == 0:
            break
        x[active], residual, stalled = step(block, x[active], residual, z[active])
        sizes[active] = residual.norm(dim=1)
        n_iter[active] += 1
    return x, n_iter, sizes


def _direction(block, x):
    """How to solve Newton's equations: by products where these suffice."""
    if not block.positive_definite or x.shape[1] <= _FEW_FEATURES:
        return _directly
    precondition = _preconditioner(block, x)

    def by_products(block, x, residual):
        slopes = block.call_and_slopes(x)[1]
        if not block.matrix_free:
            solve = partial(conjugate_gradients, tol=_FORCING, precondition=precondition)
            return solve(block.product_from(slopes), residual)[0]
        return _solve_loosely(block.product_from(slopes, torch.float32), residual)

    return by_products


def _directly(block, x, residual, *, adjoint=False):
    """(Dφ)⁻¹ or (Dφ)⁻ᵀ times the residual, from Jacobians."""
    size = max(1, _CHUNK_ENTRIES // x.shape[1] ** 2)
    parts = []
    for rows, right in zip(x.split(size), residual.split(size), strict=True):
        jacobian = block.jacobian(rows)
        parts.append(solve(jacobian.transpose(1, 2) if adjoint else jacobian, right))
    return torch.cat(parts)


def _newton_step(block, x, residual, z, direction):
    """A Newton step, halved until the residual falls (Armijo); stalled where it never does."""
    direction = direction(block, x, residual)
    size = residual.norm(dim=1)
    length = torch.ones_like(size)
    moved = x - direction
    new_residual = block(moved) - z
    while True:
        fell = new_residual.norm(dim=1) <= (1 - _ARMIJO * length) * size
        retry = (~fell & (length > _SHORTEST_STEP)).nonzero()[:, 0]
        if len(retry) == 0:
            break
        length[retry] /= 2
        moved[retry] = x[retry] - length[retry, None] * direction[retry]
        new_residual[retry] = block(moved[retry]) - z[retry]
    moved = torch.where(fell[:, None], moved, x)
    return moved, torch.where(fell[:, None], new_residual, residual), ~fell


def _fixed_point_step(block, x, residual, z):
    moved = x - residual / block.scale()
    return moved, block(moved) - z, torch.zeros(len(x), dtype=torch.bool, device=x.device)


# ------------------------------------------------------------------------------- the adjoint


def _solve_adjoint(block, x, gradient):
    """λ with Dφ(x)ᵀ λ = gradient, row by row."""
    if x.shape[1] <= _FEW_FEATURES:
        return _directly(block, x, gradient, adjoint=True)
    form = block.hidden_form()
    if block.positive_definite and form is None:
        return _by_products(block, x, gradient)
    product = block.adjoint_product(x)
    threshold = torch.finfo(x.dtype).eps ** _ADJOINT * gradient.norm(dim=1).max()
    if form is None:
        inverse = torch.linalg.inv(block.mean_jacobian(x))
        adjoint, residual = _solve_linear(product, gradient, inverse, threshold)
    else:
        h = form.preactivation(x)
        equation = form.adjoint_equation(h, gradient)
        y, _ = _solve_linear(*equation, threshold / form.inner.norm())
        adjoint = form.adjoint_solution(h, gradient, y)
        residual = (product(adjoint) - gradient).norm(dim=1)
    left = ~(residual <= 10 * threshold)
    if left.any():
        exactly = _by_products if block.positive_definite else partial(_directly, adjoint=True)
        adjoint[left] = exactly(block, x[left], gradient[left])
    return adjoint


def _solve_linear(function, target, inverse, threshold):
    """By the chord method from zero: the points and the residuals."""
    start, solver = torch.zeros_like(target), _chord(inverse)
    function = _alone(function)
    found = _march(function, target, solver, start, threshold, _FAST_STEPS, leave=False)
    return found[0], found[2]


def _by_products(block, x, gradient):
    product, precondition = block.adjoint_product(x), _preconditioner(block, x)
    tol = torch.finfo(x.dtype).eps ** _ADJOINT
    tol = _MATRIX_FREE_ADJOINT if block.matrix_free else tol
    return conjugate_gradients(product, gradient, tol=tol, precondition=precondition)[0]
