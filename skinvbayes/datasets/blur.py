"""Gaussian blur without a matrix."""

from math import prod

import numpy as np
from scipy.fft import irfftn, rfftn
from scipy.ndimage import fourier_gaussian
from scipy.sparse.linalg import LinearOperator

__all__ = ["GaussianBlur"]


class GaussianBlur(LinearOperator):
    """Gaussian blur of flattened images with periodic boundary.

    It multiplies the Fourier coefficient of frequency ω by exp(−σ²|ω|²/2): self-adjoint, positive
    definite, and of norm one.

    Parameters
    ----------
    image_shape : tuple of int
        Shape of the images.
    sigma : float
        Standard deviation σ of the Gaussian in pixels.
    """

    def __init__(self, image_shape, sigma):
        self.image_shape = tuple(image_shape)
        self.sigma = sigma
        super().__init__(np.float64, (prod(image_shape),) * 2)

    def _matmat(self, X):
        axes = range(len(self.image_shape))
        spectrum = rfftn(X.reshape(*self.image_shape, -1), axes=axes)
        sigmas = (*(self.sigma for _ in axes), 0)  # the last axis counts the images
        fourier_gaussian(spectrum, sigmas, self.image_shape[-1], axes[-1], output=spectrum)
        return irfftn(spectrum, self.image_shape, axes=axes).reshape(X.shape)

    def _adjoint(self):
        return self
