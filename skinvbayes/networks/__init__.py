"""Invertible residual networks φ(x) = c (x − f(x)) + t, with certified Lip(f) < 1."""

from .block import ResidualBlock
from .iresnet import RESIDUALS, IResNet
from .monotone import MonotoneBlock

__all__ = ["RESIDUALS", "IResNet", "MonotoneBlock", "ResidualBlock"]
