"""The default branch: the gradient of a strongly convex function made of log-sum-exp units."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..inversion.invertible import sample_stride
from ..numerics import jacobians
from ..numerics.chunks import MATRIX_FEATURES
from ..numerics.symmetric import semidefinite_root
from ..numerics.tensors import INITIAL, identity_like
from .block import PENALTY
from .gradient_constants import LinearPart, assembled, bounding_rows, root_of_sharpness
from .monotone import MonotoneBlock
from .scale_units import ScaleLayer, SumOfUnits
from .units import centred

__all__ = ["GradientBlock"]

_LEAST_REST = 1e-6  # of the weights: without any, training could not go on
_ROWS = 2048  # of signals, whose hidden units are in memory at once
_UNLIKELY = 20.0  # less in the exponent, for pieces that a start does not use
_FLOOR_STEPS, _BISECTIONS = 5, 40  # until a and L fit together
_SETTLED = 1e-3  # relative change of a, from which on they do
_DRAWN_UNITS = 256  # at least, where no number of them can learn the signals by heart
_FEW_FEATURES = 3  # up to which fewer units do in an inverse
_SCALE_ROWS, _PACE = 4, 0.3  # of scale units, and of the factor of S beside them


class GradientBlock(MonotoneBlock):
    """The gradient of a strongly convex function.

    φ(x) = S x + Σ_j ±W_jᵀ p_j(x) + t with p_j(x) = softmax(β_j (W_j x + b_j)), where unit j is the
    gradient of (1/β_j) log Σ_k exp β_j (w_jk·x + b_jk), a convex function with K pieces: softplus
    for K = 2. The Hessian of a unit is H = β Wᵀ (diag p − p pᵀ) W, and 0 ≼ H ≼ ½ β WᵀW for weights
    that are centred over the pieces. So with

        S = a I + L Lᵀ + ½ Σ β_j W_jᵀW_j,

    the sum over the units that are subtracted, Dφ ≽ a I holds whatever the weights are. Nothing has
    to be enforced but a itself: with b, a bound of the spectrum, a ≥ b (1 − L)/(1 + L) makes φ an
    iResNet, φ = c (x − f(x)) + t with c = (a + b)/2 and Lip(f) ≤ (b − a)/(b + a) ≤ L.

    L is a matrix up to ``most_features_of_matrices`` features. Above, S is a multiple of the
    identity, with a bound of the norm in place of the matrix ½ Σ β_j W_jᵀW_j. Divergence,
    Jacobian and log-determinant are in closed form. A known part G is added to S.

    Parameters
    ----------
    n_features, hidden_layer_sizes, max_lipschitz, generator
        As in :class:`ResidualBlock`; the one hidden layer has so many units.
    n_pieces : int, default=2
        Number K of pieces of each unit.
    n_subtracted : int, default=None
        Number of the units that are subtracted; half of them by default.
    n_scale_units, n_scale_rows : int, default=0 and 4
        Number of further units, which tell large signals from small ones, and of rows of each; see
        :class:`skinvbayes.networks.scale_units.ScaleLayer`.
    pace : float, default=1
        Factor of the steps that Adam takes with L.

    References
    ----------
    D. Böhning (1992), "Multinomial logistic regression algorithm", Annals of the Institute of
    Statistical Mathematics: the bound of H.
    """

    most_features_of_matrices = MATRIX_FEATURES
    can_be_inverse = True

    def __init__(
        self,
        n_features,
        hidden_layer_sizes,
        max_lipschitz,
        generator,
        *,
        n_pieces=2,
        n_subtracted=None,
        n_scale_units=0,
        n_scale_rows=_SCALE_ROWS,
        pace=1.0,
    ):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        if len(hidden_layer_sizes) != 1:
            raise ValueError(
                'residual="gradient" has one hidden layer, so hidden_layer_sizes must hold one '
                f"number; got {tuple(hidden_layer_sizes)}."
            )
        (n_units,) = hidden_layer_sizes
        n_subtracted = n_units // 2 if n_subtracted is None else n_subtracted
        sign = torch.ones(n_units, **INITIAL)
        sign[:n_subtracted] = -1
        self.n_pieces, self.n_subtracted, self.pace = n_pieces, n_subtracted, pace
        self.register_buffer("sign", sign)
        shape = n_units, n_pieces
        dense = n_features <= self.most_features_of_matrices
        amplitude, sharpness = math.sqrt(1.35 / n_units), 0.65 * math.sqrt(n_units)
        if n_pieces > 2:
            amplitude, sharpness = 0.15 * math.sqrt(n_features / n_units), 2.0
        direction = torch.randn(*shape, n_features, generator=generator, **INITIAL)
        self.register_buffer("anchor", torch.randn(shape, generator=generator, **INITIAL))
        factor = torch.eye(n_features, **INITIAL) if dense else torch.ones((), **INITIAL)
        self.factor = nn.Parameter(factor / pace)  # L over the pace
        self.weight = nn.Parameter(amplitude * F.normalize(direction, dim=-1))
        self.bias = nn.Parameter(torch.zeros(shape, **INITIAL))
        self.log_sharpness = nn.Parameter(torch.full((n_units,), math.log(sharpness), **INITIAL))
        self.scales = None
        if n_scale_units:
            self.scales = ScaleLayer(n_scale_units, n_scale_rows, n_features, generator)

    @classmethod
    def default_hidden_layer_sizes(cls, architecture):
        """Number of units: 1, 4 or 8 of an explicit inverse, else 8 for each feature, 32 to 512.

        Where signals can be drawn it is at least 256.
        """
        if not architecture.explicit_inverse:
            (usual,) = super().default_hidden_layer_sizes(architecture)
            return (max(usual, _DRAWN_UNITS) if architecture.draws_signals else usual,)
        for_clusters = 4 if architecture.n_features <= _FEW_FEATURES else 8
        return (for_clusters if architecture.has_clusters else 1,)

    @classmethod
    def options(cls, architecture):
        """Number of pieces; an inverse has scale units too, and none that are subtracted.

        Of many features, scale units and those for clusters would only be in each other's way.
        """
        if not architecture.explicit_inverse:
            return {"n_pieces": architecture.n_pieces or 2}
        sizes = architecture.hidden_layer_sizes or cls.default_hidden_layer_sizes(architecture)
        many = architecture.has_many_features
        most = 64 if many else 32
        n_pieces = min(max(8 * most // sizes[0], 2), most) if architecture.has_clusters else 2
        options = {"n_pieces": architecture.n_pieces or n_pieces, "n_subtracted": 0}
        if architecture.has_clusters and many:
            return options
        n_rows = min(_SCALE_ROWS, architecture.n_features)
        return options | {"n_scale_units": most, "n_scale_rows": n_rows, "pace": _PACE}

    @classmethod
    def default_batch_size(cls, architecture):
        """Pairs in each step of Adam."""
        draws = architecture.draws_signals and not architecture.has_many_features
        return 256 if architecture.explicit_inverse or draws else 128

    @classmethod
    def default_learning_rate(cls, architecture):
        """First step size of Adam."""
        return 5e-3 if architecture.draws_signals else 1e-2

    def initialize(self, mean, deviations, slope):
        """Start from the linear guess, with the kinks of the units spread over the signals."""
        with torch.no_grad():
            weight = self.weight.flatten(0, 1).T
            norms = [(rows @ weight).norm(dim=0) for rows in deviations.split(_ROWS)]
            spread = torch.stack(norms).norm(dim=0).view_as(self.bias)
            self.bias.copy_(self.anchor * spread - self.weight @ mean)
            self._set_slope(slope, mean)

    def start_scales(self, mean, spread):
        """Let the scale units start from the mean of the points and their spread, per feature."""
        if self.scales is not None:
            self.scales.initialize(mean, spread)

    def start_from(self, slope, weight, bias, sharpness):
        """Start with S and the first of the units that are added in closed form.

        Parameters
        ----------
        slope : Tensor of shape (n_features, n_features)
            Symmetric positive definite matrix, in place of S.
        weight : Tensor of shape (n_pieces, n_features)
            The w_k of Σ_k w_k softmax(β (w_k·x + b_k)); there may be fewer than a unit has pieces.
        bias : Tensor of shape (n_pieces,)
            The b_k.
        sharpness : float
            The β.
        """
        with torch.no_grad():
            unit, n = self.n_subtracted, len(weight)
            self.weight[unit, :n], self.weight[unit, n:] = weight, weight.mean(0)
            self.bias[unit, :n], self.bias[unit, n:] = bias, bias.min() - _UNLIKELY / sharpness
            self.log_sharpness[unit] = math.log(sharpness)
            self.shift.add_(weight.mean(0))
            self._set_matrix(slope)

    def blend(self, share):
        """Replace φ by (1 − τ) φ + τ I, in place.

        Parameters
        ----------
        share : float
            The τ, in [0, 1].
        """
        with torch.no_grad():
            rest, identity = 1 - share, identity_like(len(self.shift), self.shift)
            square = rest * (self._square() + self.constants().floor * identity) + share * identity
            self.shift.mul_(rest)
            if rest > 0:
                self.bias.mul_(rest)
                self.log_sharpness.sub_(math.log(rest))
            self.weight.mul_(max(rest, _LEAST_REST))
            if self.scales is not None:
                self.scales.shrink(rest)
            self._set_matrix(square)

    def add_slope(self, slope):
        """Add a symmetric matrix to S, in place, as far as L Lᵀ stays positive semidefinite."""
        with torch.no_grad():
            self._set_factor(semidefinite_root(self._square() + slope))

    def forward(self, x):
        """φ(x)."""
        if x.requires_grad:
            return self.call_and_slopes(x)[0]
        k = self.current_constants()
        return k.units.image_and_divergence(x, self._linear(k, x))[0]

    def call_and_slopes(self, x):
        """φ(x), and the slopes of all units there."""
        k = self.current_constants()
        return k.units.image_and_slopes(x, self._linear(k, x))

    def call_and_divergence(self, x, n_exact):
        """φ(x), and div φ(x) = tr S ± Σ_j β_j (Σ_k p_k ‖w_k‖² − ‖Σ_k p_k w_k‖²)."""
        k = self.current_constants()
        trace = k.trace(x.shape[1])
        trace = trace if self.known is None else trace + self.known.trace()
        curvature = k.units.curvature()
        if x.requires_grad:
            image, slopes = k.units.image_and_slopes(x, self._linear(k, x))
            return image, trace + k.units.divergence(curvature, slopes)
        image, divergence = k.units.image_and_divergence(x, self._linear(k, x), curvature)
        return image, trace + divergence

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)|, see :meth:`InvertibleMap.call_and_logabsdet`."""
        k = self.current_constants()
        image, slopes = k.units.image_and_slopes(x, self._linear(k, x))
        exact = k.units.jacobian(slopes[:n_exact], self._matrix(k))
        exact = jacobians.logabsdet(exact, positive_definite=True)
        if n_exact == len(x):
            return image, exact
        return image, jacobians.corrected_estimate(exact, self._first_order(k, slopes))

    def jacobian(self, x):
        """Dφ(x), symmetric positive definite."""
        k = self.current_constants()
        return k.units.jacobian(k.units.slopes(x), self._matrix(k))

    def jacobian_from(self, slopes):
        """Dφ(x) from the slopes at x."""
        k = self.current_constants()
        return k.units.jacobian(slopes, self._matrix(k))

    def mean_jacobian(self, x):
        """Dφ averaged over some of the rows."""
        k = self.current_constants()
        slopes = k.units.slopes(x[:: sample_stride(x)])
        return self._matrix(k) + k.units.mean_jacobian(slopes)

    def product_from(self, slopes, dtype=None):
        """Multiplication by Dφ(x) from the slopes at x, without forming it; in this precision."""
        slopes = slopes.to(dtype)
        k = self.current_constants().to(slopes)

        def product(v):
            linear = k.linear(v) if self.known is None else k.linear(v) + self.known(v)
            return k.units.product(slopes, v, linear)

        return product

    @property
    def tolerance(self):
        """Relative residual at which an inversion by products alone stops."""
        return 1e-8 if self.matrix_free else 0.0

    @property
    def matrix_free(self):
        """Whether a part of φ is known: then no matrix is formed."""
        return self.known is not None

    def weight_penalty(self):
        """The sum of the bounds ½ β ‖W‖² of the units' slopes; a share of it for many features."""
        total = self.current_constants().total
        return total if self.factor.ndim else PENALTY * total

    def for_step(self):
        """A view whose constants serve the loss and the penalty of one step of training."""
        if self._constants is not None:
            return self
        return self._view(_constants=self.constants(by_hand=True))

    @torch.no_grad()
    def magnitude(self):
        """Bound of the spectrum of Dφ."""
        k = self.current_constants()
        return k.floor + k.size + self.known_bounds[1]

    @torch.no_grad()
    def bounds(self):
        """The bounds (a, b) of the Jacobian's spectrum, of shape () each."""
        k = self.current_constants()
        low, high = (k.floor + bound for bound in self.known_bounds)
        rows = self._bounding_rows()
        if self.factor.ndim:
            square = self._square()
            lowest = torch.linalg.eigvalsh(square)[0].clamp(min=0)
            highest = torch.linalg.eigvalsh(square + rows.T @ rows)[-1]
        else:
            lowest, highest = self._square(), k.slope - k.floor
            added = rows[len(rows) // len(self.sign) * self.n_subtracted :]
            if len(added):  # before torch 2.5, matrices without rows have no norm
                highest = highest + torch.linalg.matrix_norm(added, 2) ** 2
        return low + lowest, high + torch.minimum(highest, k.size)

    def hidden_units(self):
        """The block seen from its units, if those have fewer rows than features; or None."""
        n_rows, n_features = centred(self.weight).flatten(0, 1).shape
        if n_rows >= n_features or self.matrix_free or self.scales is not None:
            return None
        k = self.current_constants()
        return k.units.hidden_units(k.divide(), self.shift)

    def constants(self, by_hand=False):
        """S, and the units; see :func:`skinvbayes.networks.gradient_constants.assembled`."""
        linear = LinearPart(self.n_subtracted, self.sign, self.pace, self._ratio, self.known_bounds)
        parameters = self.weight, self.bias, self.log_sharpness, self.factor
        if self.scales is None:
            return assembled(*parameters, linear, by_hand=by_hand)
        scales, bounds = self.scales.units_and_bounds(by_hand)
        k = assembled(*parameters, linear, bounds, by_hand)
        return k._replace(units=SumOfUnits(k.units, scales))

    def _bounding_rows(self):
        """Rows whose Gram matrix is an upper bound of the slopes of all units, subtracted first."""
        root = root_of_sharpness(self.log_sharpness)
        rows = bounding_rows(centred(self.weight), root).flatten(0, 1)
        return rows if self.scales is None else torch.cat([rows, self.scales.bounding()])

    def _set_slope(self, slope, mean):
        """L such that Dφ at the mean of the signals is the slope, as far as possible."""
        self.factor.zero_()
        if self.factor.ndim:
            known = self.jacobian(mean[None])[0]
            slope = slope if slope.ndim else slope * identity_like(len(known), known)
            self._set_factor(semidefinite_root(slope - known))
        else:
            slope = slope.diagonal().mean() if slope.ndim else slope
            others = self.constants().slope  # since L is zero
            self._set_factor((slope - others).clamp(min=1e-3 * slope).sqrt())

    def _set_matrix(self, matrix):
        """L such that L Lᵀ + a I is this matrix, as far as possible; a falls with L Lᵀ."""
        floor = self.constants().floor
        for _ in range(_FLOOR_STEPS):  # enough unless the Lipschitz bound is small
            before, floor = floor, self._floor_beside(matrix, floor)
        if abs(floor - before) <= _SETTLED * floor:
            return
        low, high = torch.zeros_like(floor), self._floor_beside(matrix, torch.zeros_like(floor))
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            too_low = self._floor_beside(matrix, middle) > middle
            low, high = (middle, high) if too_low else (low, middle)

    def _floor_beside(self, matrix, floor):
        """The a that belongs to the L with L Lᵀ + floor I = matrix, which is set."""
        floor = floor * identity_like(len(matrix), matrix)
        self._set_factor(semidefinite_root(matrix - floor, 0.0))
        return self.constants().floor

    def _square(self):
        """The matrix L Lᵀ, or the number."""
        factor = self.pace * self.factor
        return factor @ factor.T if factor.ndim else factor**2

    def _set_factor(self, factor):
        self.factor.copy_(factor / self.pace)

    def _linear(self, k, x):
        """φ(x) without its units."""
        linear = k.linear(x) + self.shift
        return linear if self.known is None else linear + self.known(x)

    def _matrix(self, k):
        """Dφ without its units."""
        S = k.matrix(len(self.shift))
        return S if self.known is None else S + self.known.matrix(S)

    def _first_order(self, k, slopes):
        """tr(P Dφ(x)) with P, the inverse of the averaged Jacobian, held fixed."""
        with torch.no_grad():
            mean = self._matrix(k) + k.units.mean_jacobian(slopes)
            P = torch.cholesky_inverse(torch.linalg.cholesky(mean))
        linear = (P * k.matrix(len(P))).sum()
        return linear + k.units.divergence(k.units.curvature(P), slopes)
