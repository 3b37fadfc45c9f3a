"""Invertible residual networks φ(x) = c (x − f(x)) + t, with certified Lip(f) < 1."""

from .block import ResidualBlock
from .explicit_inverse import ExplicitInverse
from .iresnet import RESIDUALS, IResNet
from .monotone import MonotoneBlock

__all__ = ["RESIDUALS", "ExplicitInverse", "IResNet", "MonotoneBlock", "ResidualBlock"]
