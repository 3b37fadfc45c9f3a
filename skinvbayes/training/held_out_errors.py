"""How long an interval has to be: what errors of held-out signals say about standard deviations.

The posterior standard deviations are those of Gaussian errors. Where signals jump, most errors are
much smaller than that and a few are larger, so that Gaussian quantiles make intervals too long.
These are quantiles of all errors together: the whole training spreads the standard deviations more
than the trial does, and has smaller errors, so that groups of them would cover up to 94 %.
"""

import numpy as np

from ..numerics.tensors import as_tensor
from ..problem.error_quantiles import ErrorQuantiles

__all__ = ["error_quantiles"]

_MOST_ROWS = 1000
_MOST_ENTRIES = 2**23  # of all Jacobians


def error_quantiles(network, problem, X, Z):
    """Quantiles of errors over their standard deviations.

    Parameters
    ----------
    network : ExplicitInverse
        A network trained without a bandwidth, in the coordinates of the problem.
    problem : InverseProblem
        The problem.
    X : ndarray of shape (n_samples, n_features)
        Signals that training has not seen.
    Z : ndarray of shape (n_copies, n_samples, n_features)
        Targets of each, with as many draws of noise.

    Returns
    -------
    quantiles : ErrorQuantiles
    """
    n_rows = min(_MOST_ROWS, max(_MOST_ENTRIES // X.shape[1] ** 2, 1))
    signals = np.concatenate([X] * len(Z))[:n_rows]
    coordinates = problem.coordinates
    w = as_tensor(coordinates.from_targets(np.concatenate(Z)[:n_rows])).to(network.device)
    inverse = network.explicit_inverse.frozen()
    error = coordinates.to_signals(inverse(w).detach().cpu().numpy()) - signals
    basis = coordinates.basis * coordinates.scale
    slopes = basis @ inverse.jacobian(w).detach().cpu().numpy()
    variance = problem.unit_epsilon * np.einsum("nij,ij->ni", slopes, basis)
    varies = variance > 0
    return ErrorQuantiles.of(error[varies], np.sqrt(variance[varies]), len(X))
