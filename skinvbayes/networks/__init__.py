"""Invertible residual networks φ(x) = c (x − f(x)) + t, with certified Lip(f) < 1."""

from .block import MonotoneBlock, ResidualBlock
from .iresnet import RESIDUALS, IResNet

__all__ = ["RESIDUALS", "IResNet", "MonotoneBlock", "ResidualBlock"]
