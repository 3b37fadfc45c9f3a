"""Networks that users could take instead, behind one interface.

``network(x)`` is the forward map, ``network.call_and_logabsdet(x)`` also gives the log-determinant
that the package trains with, ``network.inverse(z)`` its own inverse, ``network.prepare()`` what it
does after every step of the optimiser. ``network.weight_groups()`` lists the weight matrices of
every residual branch as they act.
"""

import torch
from torch import nn


class Plain(nn.Module):
    """A residual network without any constraint: the limit of what a training step can cost."""

    def __init__(self, n_features, hidden, n_blocks):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*_layers(nn.Linear, n_features, hidden)) for _ in range(n_blocks)
        )

    def forward(self, x):
        for branch in self.branches:
            x = x + branch(x)
        return x


class NormFlows(nn.Module):
    """normflows' Residual blocks, with their defaults."""

    def __init__(self, n_features, hidden, n_blocks, lipschitz=0.9):
        import normflows

        super().__init__()
        widths = [n_features, *hidden, n_features]
        constant = lipschitz ** (1 / (len(widths) - 1))  # theirs is one for each layer
        self.blocks = nn.ModuleList(
            normflows.flows.Residual(
                normflows.nets.LipschitzMLP(widths, lipschitz_const=constant, init_zeros=False)
            )
            for _ in range(n_blocks)
        )

    def forward(self, x):
        for block in self.blocks:
            x = block.iresblock.forward(x)
        return x

    def call_and_logabsdet(self, x):
        total = 0
        for block in self.blocks:
            x, logabsdet = block.inverse(x)  # theirs runs from the data to the latent space
            total = total + logabsdet
        return x, total

    def prepare(self):
        """Their power iteration, after every step of the optimiser."""
        import normflows

        normflows.utils.update_lipschitz(self, 5)

    def inverse(self, z, atol=1e-5):
        with torch.no_grad():
            for block in reversed(self.blocks):
                z = block.iresblock._inverse_fixed_point(z, atol=atol, rtol=0.0)
        return z

    def weight_groups(self):
        return [
            [layer.compute_weight(update=False) for layer in block.iresblock.nnet.net[1::2]]
            for block in self.blocks
        ]


class FrEIA(nn.Module):
    """FrEIA's IResNetLayer. Its log-determinant carries no gradient in the parameters."""

    def __init__(self, n_features, hidden, n_blocks, lipschitz=0.9):
        from FrEIA.modules import IResNetLayer

        super().__init__()
        self.blocks = nn.ModuleList(
            IResNetLayer(
                [(n_features,)],
                internal_size=hidden[0],
                n_internal_layers=len(hidden) - 1,
                spectral_norm_max=lipschitz ** (1 / (len(hidden) + 1)),
            )
            for _ in range(n_blocks)
        )

    def forward(self, x):
        for block in self.blocks:
            (x,), _ = block([x], jac=False)
        return x

    def call_and_logabsdet(self, x):
        total = 0
        x = x.clone().requires_grad_()
        for block in self.blocks:
            (x,), logabsdet = block([x])
            total = total + logabsdet
        return x, total

    def prepare(self):
        """Their projection, after every step of the optimiser."""
        for block in self.blocks:
            block.lipschitz_correction()

    def inverse(self, z):
        with torch.no_grad():
            for block in reversed(self.blocks):
                (z,), _ = block([z], rev=True, jac=False)
        return z

    def weight_groups(self):
        return [[layer.weight for layer in block.layers] for block in self.blocks]


class TorchFlows(nn.Module):
    """torchflows' InvertibleResNetBlock around the same perceptron."""

    def __init__(self, n_features, hidden, n_blocks):
        from torchflows.bijections.finite.residual.iterative import (
            InvertibleResNetBlock,
            SpectralLinear,
        )

        super().__init__()
        self.blocks = nn.ModuleList(
            InvertibleResNetBlock(
                (n_features,), g=nn.Sequential(*_layers(SpectralLinear, n_features, hidden))
            )
            for _ in range(n_blocks)
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x, skip_log_det=True)[0]
        return x

    def call_and_logabsdet(self, x):
        total = 0
        for block in self.blocks:
            x, logabsdet = block(x)
            total = total + logabsdet
        return x, total

    def prepare(self):
        """Nothing to do."""

    def inverse(self, z):
        with torch.no_grad():
            for block in reversed(self.blocks):
                z = block.inverse(z, skip_log_det=True)[0]
        return z

    def weight_groups(self):
        return [[layer.w.normalized() for layer in block.g[::2]] for block in self.blocks]


PEERS = {"normflows": NormFlows, "FrEIA": FrEIA, "torchflows": TorchFlows}


def exact_bound(network):
    """The largest product of exact spectral norms of a branch's weights: their bound of Lip(f)."""
    with torch.no_grad():
        return max(
            float(torch.stack([torch.linalg.matrix_norm(W, 2) for W in group]).prod())
            for group in network.weight_groups()
        )


def _layers(linear, n_features, hidden):
    widths = [n_features, *hidden]
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        yield linear(n_in, n_out)
        yield nn.Tanh()
    yield linear(widths[-1], n_features)
