"""The residual blocks that networks are made of: the base class, and the two branches.

A branch of your own is one subclass of :class:`ResidualBlock`, handed to an estimator as
``residual=YourBlock``.
"""

import math
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.func import vjp
from torch.nn import functional as F

from . import jacobians
from .activations import softplus, softplus_with_slope, softplus_with_slope_, tanh_with_slope
from .fused import gradient_branch_and_divergence
from .hidden_form import HiddenForm
from .spectra import NormTracker, norm_bound, normalize, small_gram

__all__ = ["RESIDUALS", "GradientBlock", "MLPBlock", "ResidualBlock"]

_MARGIN = 1e-5  # relative distance kept from the bound, above float32 rounding
_SAMPLE_ROWS = 32  # whose Jacobians are averaged


class ResidualBlock(nn.Module):
    """A map φ(x) = c (x − f(x)) + t with learned scale c > 0 and shift t.

    Subclasses define the branch: :meth:`residual`, the function f, and :meth:`lipschitz`, a
    certified bound of its Lipschitz constant, at most ``max_lipschitz``. The bound must hold for
    every value of the parameters, so that it holds during training too. Derivatives come from
    automatic differentiation unless a subclass knows better.

    Parameters
    ----------
    n_features : int
        Dimension d of the space.
    hidden_layer_sizes : tuple of int
        Widths of the hidden layers.
    max_lipschitz : float
        The bound to respect, in (0, 1).
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    A branch that is linear, f(x) = L R x / max(1, ‖R‖₂):

    >>> import torch
    >>> from skinvbayes.networks import IResNet, ResidualBlock
    >>> class LinearBlock(ResidualBlock):
    ...     def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
    ...         super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
    ...         weight = torch.randn(n_features, n_features, generator=generator)
    ...         self.weight = torch.nn.Parameter(weight)
    ...     def residual(self, x):
    ...         weight = self.weight / torch.linalg.matrix_norm(self.weight, 2).clamp(min=1)
    ...         return self.max_lipschitz * x @ weight.T
    ...     def lipschitz(self):
    ...         return self.max_lipschitz * torch.linalg.matrix_norm(self.weight, 2).clamp(max=1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = IResNet(3, residual=LinearBlock, lipschitz=0.9, generator=generator)
    >>> network(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__()
        self.max_lipschitz = max_lipschitz * (1 - _MARGIN)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.shift = nn.Parameter(torch.zeros(n_features))
        self._frozen = self._memory = None

    def residual(self, x):
        """The branch f, (n_samples, n_features) → (n_samples, n_features)."""
        raise NotImplementedError(f"{type(self).__name__} must define residual(x).")

    def lipschitz(self):
        """Certified bound of Lip(f), a Tensor of shape ()."""
        raise NotImplementedError(f"{type(self).__name__} must define lipschitz().")

    def scale(self):
        """The scale c, a Tensor of shape ()."""
        return self.log_scale.exp()

    def forward(self, x):
        """φ(x) = c (x − f(x)) + t."""
        return self.scale() * (x - self.residual(x)) + self.shift

    @contextmanager
    def frozen(self, gradient=False):
        """A context in which the parameters stay as they are; a gradient in them only if so asked.

        What :meth:`constants` gives is computed once then.
        """
        frozen = self._frozen
        if frozen is None and (gradient or self.training):
            with torch.set_grad_enabled(gradient):
                self._frozen = self.constants()
        elif frozen is None:
            self._frozen = self._remembered_constants()
        try:
            yield
        finally:
            self._frozen = frozen

    @torch.no_grad()
    def _remembered_constants(self):
        """The constants of the call before, if no parameter has changed since."""
        versions = [(p.data_ptr(), p.dtype, p._version) for p in self.parameters()]
        if self._memory is None or self._memory[0] != versions:
            self._memory = versions, self.constants()
        return self._memory[1]

    def constants(self):
        """What depends on the parameters alone, for :meth:`frozen`; here, nothing."""
        return ()

    def _current_constants(self):
        frozen = self._frozen  # read once: another thread may reset it
        return self.constants() if frozen is None else frozen

    def magnitude(self):
        """Size of the terms of φ(x) per length of x, to judge rounding by; a Tensor of shape ()."""
        return self.scale()

    def hidden_form(self):
        """The block seen from its hidden units, if it has fewer of them than features, or None."""
        return

    positive_definite = False  # whether all Jacobians are symmetric and so
    matrix_free = False  # whether products with Jacobians are to be taken, never their matrices

    def adjoint_product(self, x):
        """Multiplication of rows by Dφ(x)ᵀ, without forming it."""
        pull_back = vjp(self, x)[1]
        return lambda v: pull_back(v)[0]

    def mean_jacobian(self, x):
        """Dφ averaged over some of the rows, of shape (n_features, n_features)."""
        return self.jacobian(x[:: _every(x)]).mean(0)

    def jacobian(self, x):
        """Dφ(x), of shape (n_samples, n_features, n_features)."""
        return jacobians.jacobian(self.forward, x)

    def call_and_divergence(self, x):
        """φ(x), and div φ(x) of shape (n_samples,)."""
        return self(x), self.jacobian(x).diagonal(dim1=1, dim2=2).sum(-1)

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)| or an estimate of it, of shape (n_samples,).

        The estimate is exact for the first rows, and its mean is unbiased for the mean if these are
        drawn at random. The other rows get an approximation that is right to first order around
        the averaged Jacobian, if the block knows one; what it is off in the first rows is
        taken out of the mean.
        """
        exact = jacobians.logabsdet(self.jacobian(x[:n_exact]))
        return self(x), exact if n_exact == len(x) else _estimate(exact, x.new_zeros(len(x)))

    def initialize(self, mean, deviations, slope):
        """Adapt the initial weights to the signals and to a linear first guess; here, nothing.

        Parameters
        ----------
        mean : Tensor of shape (n_features,)
            Mean of the signals, in unit scale.
        deviations : Tensor of shape (n_samples, n_features)
            Signals less their mean, weighted such that ``deviationsᵀ deviations`` is their
            covariance.
        slope : Tensor of shape (n_features, n_features) or ()
            Symmetric positive definite matrix, the first guess of Dφ; where a part of it is known,
            the mean slope of the rest.
        """

    known = None  # a linear part of φ that is not learned; only where a subclass knows of it
    known_norm = 0.0
    most_features_of_matrices = math.inf  # beyond, a known part is never a matrix


class GradientBlock(ResidualBlock):
    """The gradient of a strongly convex function: the one-sided branch.

    φ(x) = S x − W₊ᵀσ(W₊x + b₊) + W₋ᵀσ(W₋x + b₋) + t with S symmetric and σ(h) = softplus(βh)/β, so
    that 0 ≤ σ' ≤ 1; the sharpness β is learned for each unit. The Jacobian is symmetric with its
    spectrum in [a, b], a = λ_min(S − W₊ᵀW₊) and b = λ_max(S + W₋ᵀW₋): φ = c (x − f(x)) + t with
    c = (a + b)/2 and Lip(f) ≤ (b − a)/(b + a). Where that exceeds L, a multiple of the identity is
    added to S, the least that respects it; all else stays free.

    S is a full matrix up to ``DENSE_SLOPE`` features and a multiple of the identity above.
    Divergence and Jacobian are in closed form. In training mode the bound is looked at in every
    eighth step as long as it is far.

    With a known part G, φ(x) = G x + s x − …, and b is larger by the norm of G.
    """

    DENSE_SLOPE = most_features_of_matrices = 256
    SMOOTHING = 5e-4  # of min and max in the bound: L-BFGS gets stuck at kinks
    NEGLIGIBLE = 30.0  # softplus(−30) is beyond rounding
    TRUSTED_STEPS = 7  # of training, where the bound is far
    MAX_LOG_SHARPNESS = 8.0  # a unit of no weight must not sharpen until it overflows

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        if len(hidden_layer_sizes) != 1:
            raise ValueError(
                'residual="gradient" has one hidden layer, so hidden_layer_sizes must hold one '
                f"number; got {tuple(hidden_layer_sizes)}."
            )
        n_units = hidden_layer_sizes[0]
        amplitude = math.sqrt(0.6 / n_units)
        direction = F.normalize(torch.randn(n_units, n_features, generator=generator))
        sign = torch.ones(n_units)
        sign[: n_units // 2] = -1
        self.register_buffer("sign", sign)
        self.register_buffer("anchor", torch.randn(n_units, generator=generator))
        del self.log_scale  # S takes its place
        dense = n_features <= self.DENSE_SLOPE
        self.slope = nn.Parameter(torch.eye(n_features) if dense else torch.ones(()))
        self.weight = nn.Parameter(amplitude * direction)
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.log_sharpness = nn.Parameter(torch.full((n_units,), math.log(1.5 / amplitude)))
        self._steps_to_trust = 0  # steps of training until the bound is looked at again

    def initialize(self, mean, deviations, slope):
        """Start from the linear guess, the kinks of the units spread over the signals."""
        with torch.no_grad():
            scalar = slope.ndim and not self.slope.ndim
            self.slope.copy_(slope.diagonal().mean() if scalar else slope)
            spread = (deviations @ self.weight.T).norm(dim=0)
            self.bias.copy_(-(self.weight @ mean + self.anchor * spread))

    def bounds(self):
        """The bounds (a, b) of the Jacobian's spectrum, Tensors of shape ()."""
        lower, b = self._free_bounds(self._free_slope())
        raised = self._raise(lower, b)
        return lower[0] + raised, b + raised

    def lipschitz(self):
        """Exact bound (b − a)/(b + a) of Lip(f)."""
        a, b = self.bounds()
        return (b - a) / (b + a)

    def scale(self):
        """The scale c = (a + b)/2."""
        return sum(self.bounds()) / 2

    def residual(self, x):
        """f(x) = x − (φ(x) − t)/c."""
        return x - (self(x) - self.shift) / self.scale()

    def forward(self, x):
        """φ(x)."""
        k = self._current_constants()
        return self._output(k, x, softplus(k.preactivation(x)))

    def call_and_divergence(self, x):
        """φ(x), and div φ(x) = tr S ± Σ_j σ'(h_j) ‖w_j‖²."""
        fusible = self.training and torch.is_grad_enabled() and self._frozen is None
        if fusible and not x.requires_grad:
            return self._fused_call_and_divergence(x)
        k = self._current_constants()
        response, unit_slopes = softplus_with_slope(k.preactivation(x))
        trace = k.slope.trace() if k.slope.ndim else x.shape[1] * k.slope
        trace = trace if self.known is None else trace + self.known.trace()
        units = unit_slopes @ (self.sign * self.weight.square().sum(1))
        return self._output(k, x, response), trace + units

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)|, estimated with few exact rows as described in the base class.

        In the space of the units if that is smaller: det(s I_d + WᵀDW) = s^d det(I_h + D W Wᵀ/s).
        """
        k = self._current_constants()
        response, unit_slopes = softplus_with_slope(k.preactivation(x))
        D, (n_units, n_features) = self.sign * unit_slopes, self.weight.shape
        if k.slope.ndim or n_features <= n_units or self.matrix_free:
            J = self._jacobian(k.slope, D[:n_exact])
            exact = jacobians.logabsdet(J, positive_definite=True)
        else:
            gram = self.weight @ self.weight.T / k.slope
            small = _add_identity(D[:n_exact, :, None] * gram)
            exact = n_features * k.slope.log() + jacobians.logabsdet(small)
        output = self._output(k, x, response)
        return output, exact if n_exact == len(x) else _estimate(exact, self._first_order(k, D))

    def _first_order(self, k, D):
        """tr(P Dφ(x)) with P, the inverse of the averaged Jacobian, held fixed."""
        W, n_features = self.weight, self.weight.shape[1]
        with torch.no_grad():
            mean = D.mean(0)
            if k.slope.ndim or n_features <= len(W) or self.matrix_free:
                P = torch.linalg.inv(self._jacobian(k.slope, mean[None])[0])
                WP, trace = W @ P, P.trace()
            else:  # P = (I − Wᵀ M W)/s with M = (s I + D̄ W Wᵀ)⁻¹ D̄
                gram, identity = W @ W.T, torch.eye(len(W)).to(W)
                M = torch.linalg.inv(k.slope * identity + mean[:, None] * gram) * mean
                WP = (W - (gram @ M) @ W) / k.slope
                trace = (n_features - (M.T * gram).sum()) / k.slope
            squares = (WP * W).sum(1)  # w_jᵀ P w_j, whose derivative is 2 P w_j
        linear = (k.slope * P).sum() if k.slope.ndim else k.slope * trace
        return linear + D @ (2 * (WP * W).sum(1) - squares)

    positive_definite = True

    def call_and_slopes(self, x):
        """φ(x), and the signed slopes of the units, ± σ'(h), of shape (n_samples, n_units)."""
        k = self._current_constants()
        response, unit_slopes = softplus_with_slope_(k.preactivation(x))
        return self._output(k, x, response), unit_slopes.mul_(self.sign)

    def jacobian(self, x):
        """Dφ(x) = S − W₊ᵀ diag(σ') W₊ + W₋ᵀ diag(σ') W₋, symmetric positive definite."""
        k = self._current_constants()
        return self._jacobian(k.slope, self._unit_slopes(k.preactivation(x)))

    def jacobian_from(self, slopes):
        """Dφ(x) from the slopes at x."""
        return self._jacobian(self._current_constants().slope, slopes)

    def product_from(self, slopes):
        """Multiplication by Dφ(x) from the slopes at x, without forming it."""
        k = self._current_constants()

        def product(v):
            linear = v @ k.slope if k.slope.ndim else k.slope * v
            linear = linear if self.known is None else linear + self.known(v)
            return torch.addmm(linear, (v @ self.weight.T).mul_(slopes), self.weight)

        return product

    def adjoint_product(self, x):
        """Multiplication of rows by Dφ(x), which is symmetric."""
        return self.product_from(self._unit_slopes(self._current_constants().preactivation(x)))

    def mean_jacobian(self, x):
        """Dφ averaged over all rows."""
        k = self._current_constants()
        return self._jacobian(k.slope, self._unit_slopes(k.preactivation(x)).mean(0)[None])[0]

    @property
    def matrix_free(self):
        """Whether there is a known part, for whose sake no matrix is formed."""
        return self.known is not None

    @torch.no_grad()
    def magnitude(self):
        """Size of S, its longest column, and of W₊ᵀW₊ + W₋ᵀW₋, its largest entry."""
        slope = self._current_constants().slope
        linear = slope.norm(dim=0).max() if slope.ndim else slope
        return linear + self.weight.square().sum(0).max() + self.known_norm

    def hidden_form(self):
        """The block seen from its units, if it has fewer of them than features, or None."""
        n_units, n_features = self.weight.shape
        if n_units >= n_features or self.matrix_free:
            return None
        k = self._current_constants()
        inverse = torch.linalg.inv(k.slope) if k.slope.ndim else None
        return HiddenForm(
            divide=lambda v: v / k.slope if inverse is None else v @ inverse,
            inner=k.inner,
            bias=k.bias,
            outer=k.outer,
            shift=self.shift,
            response=softplus,
            pull_back=lambda h: partial(torch.mul, torch.sigmoid(h)),
            mean_slope=lambda h: torch.diag(torch.sigmoid(h).mean(0)),
        )

    def constants(self):
        """S, and the weights between signals and units."""
        sharpness = self._sharpness()
        inner = sharpness[:, None] * self.weight
        outer = (self.sign / sharpness)[:, None] * self.weight
        return _GradientConstants(self._slope(), inner, sharpness * self.bias, outer)

    def _output(self, k, x, response):
        image = torch.addmm(k.linear(x, self.shift), response, k.outer)
        return image if self.known is None else image + self.known(x)

    def _unit_slopes(self, h):
        return torch.sigmoid(h) * self.sign

    def _jacobian(self, slope, D):
        """S + Wᵀ D W; of many rows as combinations of the matrices w_j w_jᵀ."""
        W, n_features = self.weight, self.weight.shape[1]
        S = slope if slope.ndim else slope * torch.eye(n_features).to(W)
        S = S if self.known is None else S + self.known.matrix(W)
        if len(D) < n_features:
            return S + W.T @ (D[:, :, None] * W)
        squares = (W[:, :, None] * W[:, None, :]).flatten(1)
        return S + (D @ squares).unflatten(1, (n_features, n_features))

    def _free_slope(self):
        return (self.slope + self.slope.T) / 2 if self.slope.ndim else self.slope

    def _fused_call_and_divergence(self, x):
        slope = self._slope()
        image, units = gradient_branch_and_divergence(
            x, slope, self.weight, self.bias, self._sharpness(), self.sign, self.shift
        )
        trace = slope.trace() if slope.ndim else x.shape[1] * slope
        return image, trace + units

    def _sharpness(self):
        return self.log_sharpness.clamp(max=self.MAX_LOG_SHARPNESS).exp()

    def _slope(self):
        """S, raised so that (b − a)/(b + a) ≤ L: a ≥ b (1 − L)/(1 + L)."""
        slope = self._free_slope()
        if self.training and self._steps_to_trust > 0:
            self._steps_to_trust -= 1
            return slope
        within, far_within = self._surely_within(slope)
        if far_within:
            self._steps_to_trust = self.TRUSTED_STEPS
        if within:
            return slope
        raised = self._raise(*self._free_bounds(slope))
        return slope + (raised * torch.eye(len(slope)).to(slope) if slope.ndim else raised)

    def _free_bounds(self, slope):
        """The lowest eigenvalues, a first, and b, before anything is raised."""
        down, up = self._grams(slope)
        if slope.ndim:
            return torch.linalg.eigvalsh(slope - down), torch.linalg.eigvalsh(slope + up)[-1]
        highest = slope + self.known_norm + torch.linalg.eigvalsh(up)[-1]
        return slope - torch.linalg.eigvalsh(down).flip(0), highest

    def _raise(self, lower, b):
        smooth_a = -self.SMOOTHING * torch.logsumexp(-lower / self.SMOOTHING, 0)  # ≤ a
        lacking = (self._ratio * b - smooth_a) / (1 - self._ratio)
        return self.SMOOTHING * F.softplus(lacking / self.SMOOTHING)  # ≥ max(lacking, 0)

    @torch.no_grad()
    def _surely_within(self, slope):
        """Whether a is so far above its bound that nothing is raised, and whether by 0.1 b more.

        Without any eigenvalue: Cholesky's factor exists only of a positive definite matrix.
        """
        down, up = self._grams(slope)
        identity = torch.eye(len(down)).to(down)
        if slope.ndim:
            lower, b = slope - down, norm_bound(slope + up)
        else:
            lower, b = slope * identity - down, slope + self.known_norm + norm_bound(up)
        least = self._ratio * b + self.SMOOTHING * (self.NEGLIGIBLE + math.log(len(down)))

        def above(bound):
            return not torch.linalg.cholesky_ex(lower - bound * identity)[1]

        far_within = above(least + 0.1 * b)
        return far_within or above(least), far_within

    def _grams(self, slope):
        """Matrices with the eigenvalues of W₊ᵀW₊ and of W₋ᵀW₋, but for zeros where S = s I."""
        half = len(self.sign) // 2
        down, up = self.weight[:half], self.weight[half:]
        if slope.ndim:
            return down.T @ down, up.T @ up
        return small_gram(down if half else 0 * up[:1]), small_gram(up)

    @property
    def _ratio(self):
        return (1 - self.max_lipschitz) / (1 + self.max_lipschitz)


class _GradientConstants(NamedTuple):
    slope: torch.Tensor  # S
    inner: torch.Tensor  # β W
    bias: torch.Tensor  # β b
    outer: torch.Tensor  # ± W/β

    def linear(self, v, shift):
        """S v + shift."""
        if self.slope.ndim:
            return torch.addmm(shift, v, self.slope)
        return torch.addcmul(shift, self.slope, v)

    def preactivation(self, x):
        """h = β (W x + b)."""
        return F.linear(x, self.inner, self.bias)


class MLPBlock(ResidualBlock):
    """The classical branch, f = L · W_k tanh(… tanh(W_1 x + b_1)) with every ‖W_i‖₂ ≤ 1.

    The certificate is the product of the norms. A weight is divided by its norm only where that
    exceeds one. In training mode the norms are followed from step to step, see
    :class:`skinvbayes.spectra.NormTracker`; else they are exact.
    """

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        sizes = [n_features, *hidden_layer_sizes, n_features]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = nn.ParameterList(
            torch.randn(shape, generator=generator) / math.sqrt(sum(shape)) for shape in shapes
        )
        self.biases = nn.ParameterList(
            0.5 * torch.randn(shape[0], generator=generator) for shape in shapes[:-1]
        )
        self._trackers = [NormTracker() for _ in shapes]

    def train(self, mode=True):
        """Switch to training mode, or back; what was followed is forgotten."""
        self._trackers = [NormTracker() for _ in self.weights]
        return super().train(mode)

    def residual(self, x):
        """f(x)."""
        *inner, last = self._current_constants()
        return self.max_lipschitz * self._activations(x, inner)[-1] @ last.T

    def forward(self, x):
        """φ(x)."""
        *inner, last = self._current_constants()
        return self._output(x, self._activations(x, inner)[-1], last)

    def call_and_divergence(self, x):
        """φ(x), and div φ(x); with two hidden layers d₂ᵀ (W₂ ∘ (W₁W₃)ᵀ) d₁ gives its trace."""
        if len(self.biases) != 2:
            return super().call_and_divergence(x)
        first, second, third = self._current_constants()
        hidden, slope_1 = tanh_with_slope(F.linear(x, first, self.biases[0]))
        last, slope_2 = tanh_with_slope(F.linear(hidden, second, self.biases[1]))
        trace = (slope_2 @ (second * (third.T @ first.T)) * slope_1).sum(1)
        divergence = self.scale() * (x.shape[1] - self.max_lipschitz * trace)
        return self._output(x, last, third), divergence

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)|, estimated with few exact rows as described in the base class.

        In the space of the first units if that is smaller: det(I_d − L (W_k … W_2) D_1 W_1) =
        det(I_h − L W_1 (W_k … W_2) D_1). The approximation is that of f = 0.
        """
        weights, log_scale = self._current_constants(), x.shape[1] * self.log_scale
        activations = self._activations(x, weights[:-1])
        exact = self._logabsdet(weights, [(1 - a[:n_exact].square()) for a in activations])
        output = self._output(x, activations[-1], weights[-1])
        return output, exact if n_exact == len(x) else _estimate(exact, log_scale.expand(len(x)))

    def _logabsdet(self, weights, slopes):
        *inner, last = weights
        slopes = [slope[:, None, :] for slope in slopes]
        if last.shape[0] <= len(inner[0]):
            return jacobians.logabsdet(self._jacobian_transposed(weights, slopes))
        product = inner[0] @ last
        for weight, slope in zip(inner[:0:-1], slopes[:0:-1], strict=True):
            product = (product * slope) @ weight
        small = _add_identity(product * (-self.max_lipschitz * slopes[0]))
        return last.shape[0] * self.log_scale + jacobians.logabsdet(small)

    def lipschitz(self):
        """L times the product of the norms of the normalised weights."""
        norms = [torch.linalg.matrix_norm(weight, 2) for weight in self.weights]
        return self.max_lipschitz * torch.stack(norms).clamp(max=1).prod()

    def jacobian(self, x):
        """Dφ(x) = c (I − L W_k D_{k−1} W_{k−1} … D_1 W_1)."""
        weights = self._current_constants()
        activations = self._activations(x, weights[:-1])
        slopes = [(1 - a.square())[:, None, :] for a in activations]
        return self._jacobian_transposed(weights, slopes).transpose(1, 2)

    def adjoint_product(self, x):
        """Multiplication of rows by Dφ(x)ᵀ."""
        form = self._hidden_form()
        pull_back, scale = form.pull_back(form.preactivation(x)), self.scale()
        return lambda v: torch.addmm(scale * v, pull_back(v @ form.outer.T), form.inner)

    def hidden_form(self):
        """The block seen from its first units, if these are fewer than features, or None."""
        return self._hidden_form() if len(self.biases[0]) < len(self.shift) else None

    def _hidden_form(self):
        first, *middle, last = self._current_constants()
        bias, *biases = self.biases
        scale = self.scale()

        def activations(h):
            values = [torch.tanh(h)]
            for weight, bias in zip(middle, biases, strict=True):
                values.append(torch.tanh(F.linear(values[-1], weight, bias)))
            return values

        def pull_back(h):
            slopes = [1 - a.square() for a in activations(h)]

            def product(y):
                for weight, slope in zip(middle[::-1], slopes[:0:-1], strict=True):
                    y = (y * slope) @ weight
                return y * slopes[0]

            return product

        def mean_slope(h):
            first, *rest = [1 - a.square() for a in activations(h[:: _every(h)])]
            slopes = torch.diag_embed(first)
            for weight, slope in zip(middle, rest, strict=True):
                slopes = (slopes @ weight.T) * slope[:, None, :]
            return slopes.mean(0)

        return HiddenForm(
            divide=lambda v: v / scale,
            inner=first,
            bias=bias,
            outer=-self.max_lipschitz * scale * last.T,
            shift=self.shift,
            response=lambda h: activations(h)[-1],
            pull_back=pull_back,
            mean_slope=mean_slope,
        )

    def constants(self):
        """The weights, divided by their norms where these exceed one."""
        if not self.training:
            return [normalize(weight) for weight in self.weights]
        pairs = zip(self._trackers, self.weights, strict=True)
        return [tracker.normalize(weight) for tracker, weight in pairs]

    def _activations(self, x, inner):
        """The values of every hidden layer."""
        activations = []
        for weight, bias in zip(inner, self.biases, strict=True):
            x = torch.tanh(F.linear(x, weight, bias))
            activations.append(x)
        return activations

    def _output(self, x, activation, last):
        scale = self.scale()
        last = (-self.max_lipschitz * scale) * last.T
        return torch.addmm(torch.addcmul(self.shift, x, scale), activation, last)

    def _jacobian_transposed(self, weights, slopes):
        """The rows are what becomes of the directions of the coordinates."""
        directions = slopes[0] * weights[0].T
        for weight, slope in zip(weights[1:-1], slopes[1:], strict=True):
            directions = slope * F.linear(directions, weight)
        return self.scale() * _add_identity(F.linear(directions, -self.max_lipschitz * weights[-1]))


def _estimate(exact, approximation):
    """The approximation of all rows, its error in the first rows taken out of the mean."""
    n, n_exact = len(approximation), len(exact)
    error = n / n_exact * (exact - approximation[:n_exact])
    return approximation + F.pad(error, (0, n - n_exact))


def _every(rows):
    """The step from one row of the sample to the next."""
    return max(1, len(rows) // _SAMPLE_ROWS)


def _add_identity(matrices):
    matrices.diagonal(dim1=1, dim2=2).add_(1)
    return matrices


RESIDUALS = {"gradient": GradientBlock, "mlp": MLPBlock}
