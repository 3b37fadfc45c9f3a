"""Draws of a smoothed prior for training: measurements, and what their kernels make of them."""

import numpy as np
import torch

from ..numerics.tensors import as_tensor, white_like

__all__ = ["KernelDraws"]

_DENSE_ENTRIES = 2**20  # rows × clusters × features², up to which one product serves all clusters


class KernelDraws:
    """Pairs (w, E[u | w, kernel]) of a smoothed prior.

    A draw of kernel j is w = G̃ m_j + e with e ~ N(0, G̃ S_k G̃ᵀ + N). Its target m_j + K_k e is the
    mean over all signals of the kernel that w may come from. Where there is one kernel for each
    cluster (h = 1) the target is the posterior mean under all of them, without any noise, and w
    varies in the null space of G̃ too (:attr:`SmoothedPrior.tilted_roots`).

    Parameters
    ----------
    prior : SmoothedPrior
        The prior.
    dtype : torch.dtype
        Precision of the draws.
    device : torch.device or None
        Where they are made.
    """

    def __init__(self, prior, dtype=torch.float32, device=None):
        def tensor(array):
            return as_tensor(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

        self.n_features, self.epsilon = prior.means.shape[1], float(prior.epsilon)
        self.labels = as_tensor(prior.labels).to(device)
        self.cumulative = as_tensor(prior.weights.cumsum()).to(device)
        self.mixture = None
        means = prior.images
        if prior.is_mixture:
            roots = prior.tilted_roots
            slopes = prior.statistic.T @ prior.slopes  # one matrix for w ↦ K_k t
            slopes = slopes.transpose(1, 0, 2).reshape(self.n_features, -1)
            statistic = None if prior.noise is None else tensor(prior.statistic.T)
            self.mixture = statistic, tensor(slopes), tensor(prior.pulls), tensor(prior.biases)
        else:  # with the targets beside the measurements
            roots = prior.measurement_roots
            moves = roots @ prior.gains.transpose(0, 2, 1)
            roots, means = np.concatenate([roots, moves], 2), np.hstack([means, prior.means])
        self.roots, self.means = tensor(roots), tensor(means)

    def rows(self, n_rows, generator=None):
        """Draw kernels by their weights."""
        uniform = torch.rand(n_rows, dtype=torch.float64, generator=generator, device="cpu")
        below = uniform.to(self.cumulative.device) * self.cumulative[-1]
        found = torch.searchsorted(self.cumulative, below, right=True)
        return found.clamp_(max=len(self.labels) - 1)

    def draw(self, rows, generator=None):
        """Measurements of kernels, and their targets.

        Parameters
        ----------
        rows : Tensor of int of shape (n_rows,)
            Kernels.
        generator : torch.Generator or None
            Source of randomness.

        Returns
        -------
        w, target : Tensors of shape (n_rows, n_features)
        """
        white = white_like((len(rows), self.n_features), self.means, generator)
        drawn = self._coloured(white, self.labels[rows]).add_(self.means[rows])
        if self.mixture is not None:
            return drawn, self._posterior_mean(drawn)
        return drawn.split(self.n_features, dim=1)

    def _coloured(self, white, labels):
        """Rows of white noise times the matrices of their clusters."""
        n_clusters, n_features, width = self.roots.shape
        if n_clusters == 1:
            return white @ self.roots[0]
        if len(white) * n_clusters * n_features**2 <= _DENSE_ENTRIES:
            flat = self.roots.transpose(0, 1).reshape(n_features, -1)
            moved = (white @ flat).view(-1, n_clusters, width)
            return moved[torch.arange(len(white), device=white.device), labels]
        moved = white.new_empty(len(white), width)
        for k in labels.unique().tolist():
            chosen = (labels == k).nonzero()[:, 0]
            moved[chosen] = white[chosen] @ self.roots[k]
        return moved

    def _posterior_mean(self, w):
        statistic, slopes, pulls, biases = self.mixture
        t = w if statistic is None else w @ statistic
        moved = (w @ slopes).view(len(w), -1, self.n_features)  # K_k t
        quadratic = torch.bmm(moved, t[:, :, None])[:, :, 0]
        logits = torch.addmm(biases, t, pulls.T).add_(quadratic, alpha=0.5 / self.epsilon)
        probability = torch.softmax(logits, dim=1)
        mean = torch.bmm(probability[:, None], moved)[:, 0]
        return mean.addmm_(probability, pulls, alpha=self.epsilon)
