"""Draws of a smoothed prior for training: signals or measurements, and the targets of a loss.

The divergence loss of signals with a known density p is the square of a regression, for by parts
``E div φ = −E[⟨φ, ∇log p⟩]``:

    E[½‖φ(u) − G̃u‖² − ε div φ(u)] = E ½‖φ(u) − (G̃u − ε ∇log p(u))‖² + constant.

So its optimum is a target without any noise, where the signals alone would say it on average.
"""

import numpy as np
import torch

from ..numerics.tensors import as_tensor, white_like

__all__ = ["KernelDraws", "MeasurementDraws", "SignalDraws"]

_DENSE_ENTRIES = 2**20  # rows × clusters × features², up to which one product serves all clusters


class KernelDraws:
    """Kernels of a smoothed prior, drawn by their weights.

    Parameters
    ----------
    prior : SmoothedPrior
        The prior.
    roots : ndarray of shape (n_clusters, n_features, width)
        What white noise is multiplied with, for the kernels of each cluster.
    means : ndarray of shape (n_kernels, width)
        What is added to it.
    dtype : torch.dtype
        Precision of the draws.
    device : torch.device or None
        Where they are made.

    Attributes
    ----------
    uses : int
        How often Adam sees a draw before others take its place.
    """

    uses = 1

    def __init__(self, prior, roots, means, dtype, device):
        self.dtype, self.device = dtype, device
        self.n_features = prior.means.shape[1]
        self.labels = as_tensor(prior.labels).to(device)
        self.cumulative = as_tensor(prior.weights.cumsum()).to(device)
        self.roots, self.means = self._tensor(roots), self._tensor(means)

    def rows(self, n_rows, generator=None):
        """Draw kernels by their weights."""
        uniform = torch.rand(n_rows, dtype=torch.float64, generator=generator, device="cpu")
        below = uniform.to(self.cumulative.device) * self.cumulative[-1]
        found = torch.searchsorted(self.cumulative, below, right=True)
        return found.clamp_(max=len(self.labels) - 1)

    def draw(self, rows, generator=None):
        """Inputs and targets of a loss, from kernels.

        Parameters
        ----------
        rows : Tensor of int of shape (n_rows,)
            Kernels.
        generator : torch.Generator or None
            Source of randomness.

        Returns
        -------
        x, z : Tensors of shape (n_rows, n_features)
            Signals and targets.
        """
        raise NotImplementedError

    def _tensor(self, array):
        array = np.ascontiguousarray(array)
        return as_tensor(array).to(device=self.device, dtype=self.dtype)

    def _drawn(self, rows, generator):
        """The means of kernels with the noise of their clusters."""
        white = white_like((len(rows), self.n_features), self.means, generator)
        return self._coloured(white, self.labels[rows]).add_(self.means[rows])

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


class MeasurementDraws(KernelDraws):
    """Pairs (E[u | w, kernel], w) of a smoothed prior.

    A draw of kernel j is w = G̃ m_j + e with e ~ N(0, G̃ S_k G̃ᵀ + N). Its signal m_j + K_k e is the
    mean over all signals of the kernel that w may come from. Where there is one kernel for each
    cluster (h = 1) it is the posterior mean under all of them, without any noise, and w varies in
    the null space of G̃ too (:attr:`SmoothedPrior.tilted_roots`).

    Parameters
    ----------
    prior, dtype, device
        As of :class:`KernelDraws`.
    """

    def __init__(self, prior, dtype=torch.float32, device=None):
        means = prior.images
        if prior.is_mixture:
            roots = prior.tilted_roots
        else:  # with the signals beside the measurements
            roots = prior.measurement_roots
            moves = roots @ prior.gains.transpose(0, 2, 1)
            roots, means = np.concatenate([roots, moves], 2), np.hstack([means, prior.means])
        super().__init__(prior, roots, means, dtype, device)
        self.epsilon, self.mixture = float(prior.epsilon), None
        if prior.is_mixture:
            slopes = prior.statistic.T @ prior.slopes  # one matrix for w ↦ K_k t
            slopes = slopes.transpose(1, 0, 2).reshape(self.n_features, -1)
            statistic = None if prior.noise is None else self._tensor(prior.statistic.T)
            known = slopes, prior.pulls, prior.biases
            self.mixture = statistic, *(self._tensor(array) for array in known)

    def draw(self, rows, generator=None):
        """Signals to expect, and measurements, see :meth:`KernelDraws.draw`."""
        drawn = self._drawn(rows, generator)
        if self.mixture is not None:
            return self._posterior_mean(drawn), drawn
        w, u = drawn.split(self.n_features, dim=1)
        return u, w

    def _posterior_mean(self, w):
        statistic, slopes, pulls, biases = self.mixture
        t = w if statistic is None else w @ statistic
        moved = (w @ slopes).view(len(w), -1, self.n_features)  # K_k t
        quadratic = torch.bmm(moved, t[:, :, None])[:, :, 0]
        logits = torch.addmm(biases, t, pulls.T).add_(quadratic, alpha=0.5 / self.epsilon)
        probability = torch.softmax(logits, dim=1)
        mean = torch.bmm(probability[:, None], moved)[:, 0]
        return mean.addmm_(probability, pulls, alpha=self.epsilon)


class SignalDraws(KernelDraws):
    """Pairs (u, G̃u − ε ∇log p(u)) of a smoothed prior: the optimum of the divergence loss.

    With P_k = S_k⁻¹, kernel j has the probability p_j = softmax(u·P_k m_j − ½ u·P_k u + b_j) at u,
    and ∇log p = Σ_j p_j P_k (m_j − u).

    Parameters
    ----------
    prior, dtype, device
        As of :class:`KernelDraws`; the covariances of the prior are positive definite.
    epsilon : float
        The ε.
    """

    def __init__(self, prior, epsilon, dtype=torch.float32, device=None):
        super().__init__(prior, prior.covariance_roots, prior.means, dtype, device)
        if not prior.is_mixture:  # the score of so many kernels costs as much as a step
            self.uses = 2
        self.epsilon, self.forward = epsilon, self._tensor(prior.forward.T)
        precisions = prior.precisions
        self.precisions = self._tensor(precisions.transpose(1, 0, 2).reshape(self.n_features, -1))
        pulls = np.einsum("jde,je->jd", precisions[prior.labels], prior.means)
        energy = np.sum(pulls * prior.means, axis=1)
        logdet = np.linalg.slogdet(precisions)[1][prior.labels]
        with np.errstate(divide="ignore"):  # a kernel of weight zero has log weight −inf
            biases = np.log(prior.weights) + 0.5 * (logdet - energy)
        self.pulls, self.biases = self._tensor(pulls), self._tensor(biases)
        self.members = self._tensor(np.eye(len(precisions))[prior.labels])

    def draw(self, rows, generator=None):
        """Signals and targets, see :meth:`KernelDraws.draw`."""
        u = self._drawn(rows, generator)
        return u, torch.addmm(self.score(u), u, self.forward, beta=-self.epsilon)

    def score(self, u):
        """∇log p(u).

        Parameters
        ----------
        u : Tensor of shape (n_rows, n_features)
            Signals.

        Returns
        -------
        score : Tensor of shape (n_rows, n_features)
        """
        moved = (u @ self.precisions).view(len(u), -1, self.n_features)  # P_k u
        quadratic = torch.bmm(moved, u[:, :, None])[:, :, 0]
        logits = torch.addmm(self.biases, u, self.pulls.T)
        probability = torch.softmax(logits.addmm_(quadratic, self.members.T, alpha=-0.5), dim=1)
        share = probability @ self.members
        mean = torch.bmm(share[:, None], moved)[:, 0]
        return torch.addmm(mean, probability, self.pulls, beta=-1)
