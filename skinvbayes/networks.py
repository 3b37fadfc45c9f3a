"""Invertible residual networks φ(x) = c (x − f(x)) + t, with certified Lip(f) < 1.

A block is one such map, an :class:`IResNet` a composition of blocks. A branch of your own is one
subclass of :class:`ResidualBlock`, handed to an estimator as ``residual=YourBlock``.
"""

import math
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from . import jacobians

__all__ = ["RESIDUALS", "GradientBlock", "IResNet", "MLPBlock", "ResidualBlock", "spectral_norm"]

_MARGIN = 1e-5  # relative distance kept from the bound, above float32 rounding


def spectral_norm(matrix):
    """Largest singular value: exact, and differentiable where it is simple.

    Parameters
    ----------
    matrix : Tensor of shape (n_rows, n_columns)
        Any matrix.

    Returns
    -------
    norm : Tensor of shape ()
        ``‖matrix‖₂``.
    """
    wide = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    return torch.linalg.eigvalsh(wide.T @ wide)[-1].clamp(min=0).sqrt()


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
    A branch that is linear, f(x) = L R x / max(1, ‖R‖):

    >>> import torch
    >>> from skinvbayes.networks import IResNet, ResidualBlock, spectral_norm
    >>> class LinearBlock(ResidualBlock):
    ...     def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
    ...         super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
    ...         weight = torch.randn(n_features, n_features, generator=generator)
    ...         self.weight = torch.nn.Parameter(weight)
    ...     def residual(self, x):
    ...         weight = self.weight / spectral_norm(self.weight).clamp(min=1)
    ...         return self.max_lipschitz * x @ weight.T
    ...     def lipschitz(self):
    ...         return self.max_lipschitz * spectral_norm(self.weight).clamp(max=1)
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
        self._known = None

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
    def frozen(self):
        """A context in which the parameters stay as they are and need no gradient.

        What :meth:`constants` gives is computed once then.
        """
        known = self._known
        if known is None:
            with torch.no_grad():
                self._known = self.constants()
        try:
            yield
        finally:
            self._known = known

    def constants(self):
        """What depends on the parameters alone, for :meth:`frozen`; here, nothing."""
        return ()

    def _current_constants(self):
        known = self._known  # read once: another thread may reset it
        return self.constants() if known is None else known

    jacobian_product = None  # of blocks with a symmetric positive definite Jacobian: see there

    def jacobian(self, x):
        """Dφ(x), of shape (n_samples, n_features, n_features)."""
        return jacobians.jacobian(self.forward, x)

    def divergence(self, x):
        """div φ(x), of shape (n_samples,)."""
        return self.jacobian(x).diagonal(dim1=1, dim2=2).sum(-1)

    def initialize(self, mean, covariance, slope):
        """Adapt the initial weights to the signals and to a linear first guess; here, nothing.

        Parameters
        ----------
        mean : Tensor of shape (n_features,)
            Mean of the signals, in unit scale.
        covariance : Tensor of shape (n_features, n_features)
            Covariance of the signals.
        slope : Tensor of shape (n_features, n_features)
            Symmetric positive definite matrix, the first guess of Dφ.
        """


class GradientBlock(ResidualBlock):
    """The gradient of a strongly convex function: the one-sided branch.

    φ(x) = S x − W₊ᵀσ(W₊x + b₊) + W₋ᵀσ(W₋x + b₋) + t with S symmetric and σ(h) = softplus(βh)/β, so
    that 0 ≤ σ' ≤ 1; the sharpness β is learned for each unit. The Jacobian is symmetric with its
    spectrum in [a, b], a = λ_min(S − W₊ᵀW₊) and b = λ_max(S + W₋ᵀW₋): φ = c (x − f(x)) + t with
    c = (a + b)/2 and Lip(f) ≤ (b − a)/(b + a). Where that exceeds L, a multiple of the identity is
    added to S, the least that respects it; all else stays free.

    S is a full matrix up to ``DENSE_SLOPE`` features and a multiple of the identity above.
    Divergence and Jacobian are in closed form.
    """

    DENSE_SLOPE = 256
    SMOOTHING = 5e-4  # of min and max in the bound: L-BFGS gets stuck at kinks
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

    def initialize(self, mean, covariance, slope):
        """Start from the linear guess, the kinks of the units spread over the signals."""
        with torch.no_grad():
            self.slope.copy_(slope if self.slope.ndim else slope.diagonal().mean())
            spread = (self.weight * (self.weight @ covariance)).sum(1).clamp(min=0).sqrt()
            self.bias.copy_(-(self.weight @ mean + self.anchor * spread))

    def bounds(self):
        """The bounds (a, b) of the Jacobian's spectrum, Tensors of shape ()."""
        return self._current_constants()[1:]

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
        # at torch's own threshold of 20 the slope would jump by 2e-9
        response = F.softplus(self._preactivation(x), threshold=40.0)
        response = response * (self.sign / self._sharpness())
        return x @ self._slope() + response @ self.weight + self.shift

    def jacobian_product(self, x):
        """Multiplication by Dφ(x), which is symmetric positive definite, without forming it."""
        slope, unit_slopes = self._slope(), self._unit_slopes(x)
        return lambda v: v @ slope + (unit_slopes * (v @ self.weight.T)) @ self.weight

    def jacobian(self, x):
        """Dφ(x) = S − W₊ᵀ diag(σ') W₊ + W₋ᵀ diag(σ') W₋, symmetric positive definite."""
        return self._slope() + self.weight.T @ (self._unit_slopes(x)[:, :, None] * self.weight)

    def divergence(self, x):
        """div φ(x) = tr S ± Σ_j σ'(h_j) ‖w_j‖²."""
        return self._slope().trace() + self._unit_slopes(x) @ self.weight.square().sum(1)

    def _preactivation(self, x):
        return F.linear(x, self.weight, self.bias) * self._sharpness()

    def _sharpness(self):
        return self.log_sharpness.clamp(max=self.MAX_LOG_SHARPNESS).exp()

    def _unit_slopes(self, x):
        return torch.sigmoid(self._preactivation(x)) * self.sign

    def _slope(self):
        return self._current_constants()[0]

    def constants(self):
        """S with the bounds a and b, raised so that (b − a)/(b + a) ≤ L: a ≥ b (1 − L)/(1 + L)."""
        identity = torch.eye(
            self.weight.shape[1], dtype=self.weight.dtype, device=self.weight.device
        )
        slope = (self.slope + self.slope.T) / 2 if self.slope.ndim else self.slope * identity
        half = len(self.sign) // 2
        down, up = self.weight[:half], self.weight[half:]
        lower = torch.linalg.eigvalsh(slope - down.T @ down)
        a, b = lower[0], torch.linalg.eigvalsh(slope + up.T @ up)[-1]
        ratio = (1 - self.max_lipschitz) / (1 + self.max_lipschitz)
        smooth_a = -self.SMOOTHING * torch.logsumexp(-lower / self.SMOOTHING, 0)  # ≤ a
        lacking = (ratio * b - smooth_a) / (1 - ratio)
        raised = self.SMOOTHING * F.softplus(lacking / self.SMOOTHING)  # ≥ max(lacking, 0)
        return slope + raised * identity, a + raised, b + raised


class MLPBlock(ResidualBlock):
    """The classical branch, f = L · W_k tanh(… tanh(W_1 x + b_1)) with every ‖W_i‖₂ ≤ 1.

    The certificate is the product of the norms. A weight is divided by its norm only where that
    exceeds one.
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

    def residual(self, x):
        """f(x)."""
        *inner, last = self._current_constants()
        for weight, bias in zip(inner, self.biases, strict=True):
            x = torch.tanh(F.linear(x, weight, bias))
        return self.max_lipschitz * x @ last.T

    def lipschitz(self):
        """L times the product of the norms of the normalised weights."""
        norms = torch.stack([spectral_norm(weight) for weight in self._current_constants()])
        return self.max_lipschitz * norms.prod()

    def jacobian(self, x):
        """Dφ(x) = c (I − L W_k D_{k−1} W_{k−1} … D_1 W_1)."""
        first, *rest = self._current_constants()
        hidden = torch.tanh(F.linear(x, first, self.biases[0]))
        product = (1 - hidden.square())[:, :, None] * first
        for weight, bias in zip(rest[:-1], self.biases[1:], strict=True):
            hidden = torch.tanh(F.linear(hidden, weight, bias))
            product = (1 - hidden.square())[:, :, None] * (weight @ product)
        identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return self.scale() * (identity - self.max_lipschitz * (rest[-1] @ product))

    def divergence(self, x):
        """div φ(x); with two hidden layers d₂ᵀ (W₂ ∘ (W₁W₃)ᵀ) d₁ gives its trace."""
        if len(self.biases) != 2:
            return super().divergence(x)
        first, second, third = self._current_constants()
        hidden = torch.tanh(F.linear(x, first, self.biases[0]))
        last = torch.tanh(F.linear(hidden, second, self.biases[1]))
        products = second * (first @ third).T
        trace = ((1 - last.square()) @ products * (1 - hidden.square())).sum(1)
        return self.scale() * (x.shape[1] - self.max_lipschitz * trace)

    def constants(self):
        """The weights, divided by their norms where these exceed one."""
        return [weight / spectral_norm(weight).clamp(min=1) for weight in self.weights]


RESIDUALS = {"gradient": GradientBlock, "mlp": MLPBlock}


class IResNet(nn.Module):
    """Invertible residual network: one or several residual blocks in a row.

    Parameters
    ----------
    n_features : int
        Dimension d of the space.
    residual : {"gradient", "mlp"} or a subclass of ResidualBlock, default="gradient"
        The branch of every block.
    n_blocks : int, default=1
        Number of blocks.
    hidden_layer_sizes : tuple of int, default=(32,)
        Widths of the hidden layers of each branch.
    lipschitz : float, default=0.999
        Bound L < 1 of the Lipschitz constant of each branch.
    generator : torch.Generator, default=None
        Source of the initial weights; a fresh one of seed 0 by default.

    Attributes
    ----------
    config : dict
        The parameters above but the generator, as given.

    References
    ----------
    J. Behrmann et al. (2019), "Invertible Residual Networks"; N. Heilenkötter (2025),
    arXiv:2510.26704.
    """

    def __init__(
        self,
        n_features,
        *,
        residual="gradient",
        n_blocks=1,
        hidden_layer_sizes=(32,),
        lipschitz=0.999,
        generator=None,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        block = RESIDUALS[residual] if isinstance(residual, str) else residual
        self.n_features = n_features
        self.config = {
            "n_features": n_features,
            "residual": residual,
            "n_blocks": n_blocks,
            "hidden_layer_sizes": tuple(hidden_layer_sizes),
            "lipschitz": lipschitz,
        }
        self.blocks = nn.ModuleList(
            block(n_features, tuple(hidden_layer_sizes), lipschitz, generator)
            for _ in range(n_blocks)
        )

    @property
    def device(self):
        """Where the parameters are."""
        return next(self.parameters()).device

    @contextmanager
    def frozen(self):
        """A context in which the parameters stay as they are and need no gradient."""
        with ExitStack() as stack:
            for block in self.blocks:
                stack.enter_context(block.frozen())
            yield

    def initialize(self, mean, covariance, slope):
        """Adapt the initial weights to signals of unit scale and a linear first guess of φ.

        The first block starts from the slope, the others from the identity.
        """
        with torch.no_grad():
            for block in self.blocks:
                block.initialize(mean, covariance, slope)
                mean, covariance = block(mean[None])[0], slope @ covariance @ slope
                slope = torch.eye(self.n_features).to(slope)

    def forward(self, x):
        """φ(x), (n_samples, n_features) → (n_samples, n_features)."""
        for block in self.blocks:
            x = block(x)
        return x

    def jacobian(self, x):
        """Dφ(x), of shape (n_samples, n_features, n_features): the product of the blocks'."""
        first, *rest = self.blocks
        product = first.jacobian(x)
        for block in rest:
            x = first(x)
            product = block.jacobian(x) @ product
            first = block
        return product

    def divergence(self, x):
        """div φ(x), of shape (n_samples,). It is not the sum of the blocks' divergences."""
        if len(self.blocks) == 1:
            return self.blocks[0].divergence(x)
        return self.jacobian(x).diagonal(dim1=1, dim2=2).sum(-1)

    def logabsdet(self, x):
        """log|det Dφ(x)|, of shape (n_samples,): the sum of the blocks'."""
        total = 0
        for block in self.blocks:
            total = total + jacobians.logabsdet(block.jacobian(x))
            x = block(x)
        return total

    def lipschitz(self):
        """Certified bound of Lip(f) of each block, a Tensor of shape (n_blocks,)."""
        return torch.stack([block.lipschitz() for block in self.blocks])

    def weight_penalty(self):
        """Sum of squares of the branches' weight matrices; S is free of it."""
        weights = (p for name, p in self.named_parameters() if "weight" in name)
        return sum(weight.square().sum() for weight in weights)
