"""The fitted attributes of an estimator, from the result of a training and back to it."""

import numpy as np
import torch

from ..training.optimize import History
from ..training.trained import Trained

__all__ = ["fitted_attributes", "trained_of"]

_ROUNDING = 1e-9  # added to the computed bound, for the rounding of the branch's values


def fitted_attributes(trained):
    """The fitted attributes, a dict from their names.

    Parameters
    ----------
    trained : Trained
        The result of a training; its network may still be trained on.
    """
    problem, history = trained.problem, trained.history
    return {
        "network_": trained.network,
        "problem_": problem,
        "operator_": problem.measurement.given,
        "noise_std_": problem.measurement.noise.std,
        "noise_covariance_": problem.measurement.noise.matrix,
        "noise_level_": problem.noise_level,
        "epsilon_": trained.epsilon,
        "prior_bandwidth_": trained.bandwidth,
        "loss_curve_": history.loss_curve,
        "validation_loss_curve_": history.validation_loss_curve or None,
        "best_loss_": history.best_loss,
        "training_stages_": history.stages,
        "n_iter_": len(history.loss_curve),
        "lipschitz_": _certified_bounds(trained.network),
        "_continuation": trained.continuation,
        "_prior_weight": trained.prior_weight,
    }


def trained_of(estimator):
    """The result of a training from a fitted estimator, a copy that can be trained on."""
    curves = estimator.loss_curve_, estimator.validation_loss_curve_ or []
    return Trained(
        network=estimator.network_,
        problem=estimator.problem_,
        epsilon=estimator.epsilon_,
        bandwidth=estimator.prior_bandwidth_,
        history=History(*curves, estimator.best_loss_, stages=estimator.training_stages_),
        continuation=estimator._continuation,
        prior_weight=estimator._prior_weight,
    ).copy()


def _certified_bounds(network):
    """Bounds of the Lipschitz constants of the branches, ndarray of shape (n_blocks,)."""
    with torch.no_grad():
        bounds = network.lipschitz().cpu().numpy()
    return np.minimum(bounds + _ROUNDING, network.config["lipschitz"])
