"""From the parameters of an estimator to the specification of its training, checked."""

import math
import numbers

import numpy as np
import torch

from ..networks import RESIDUALS
from ..networks.architecture import Architecture
from ..networks.iresnet import branch_of
from ..numerics.sklearn_compat import Interval, StrOptions
from ..training.specification import TrainingSpecification
from .validation import is_given

__all__ = ["CONSTRAINTS", "n_pixels", "training_specification"]

CONSTRAINTS = {  # of the parameters, checked by scikit-learn
    "operator": "no_validation",  # as_operator checks it
    "noise_level": [
        *(StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left"), "array-like"),
    ],
    "noise_covariance": [None, "array-like"],
    "prior_bandwidth": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
    "residual": [StrOptions(set(RESIDUALS)), callable],
    "n_blocks": [Interval(numbers.Integral, 1, None, closed="left")],
    "hidden_layer_sizes": [StrOptions({"auto"}), "array-like", numbers.Integral],
    "n_pieces": [StrOptions({"auto"}), Interval(numbers.Integral, 2, None, closed="left")],
    "image_shape": [None, "array-like"],
    "kernel_size": [Interval(numbers.Integral, 3, None, closed="left")],
    "lipschitz": [Interval(numbers.Real, 0, 1, closed="neither")],
    "solver": [StrOptions({"auto", "lbfgs", "adam"})],
    "max_iter": [Interval(numbers.Integral, 1, None, closed="left")],
    "tol": [Interval(numbers.Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(numbers.Integral, 1, None, closed="left")],
    "learning_rate_init": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="neither")],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(numbers.Integral, 1, None, closed="left")],
    "warm_start": ["boolean"],
    "device": [str, torch.device],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


def training_specification(estimator):
    """What an estimator asks training for.

    Parameters
    ----------
    estimator : BaseINN
        With its parameters and ``n_features_in_``.

    Returns
    -------
    specification : TrainingSpecification

    Raises
    ------
    ValueError
        If the branch or its sizes are not as they must be.
    """
    return TrainingSpecification(
        title=type(estimator).__name__,
        loss=estimator.loss,
        epsilon=getattr(estimator, "epsilon", "auto"),
        branch=branch_of(estimator.residual),
        architecture=_architecture(estimator),
        operator=estimator.operator,
        noise_level=estimator.noise_level,
        noise_covariance=estimator.noise_covariance,
        prior_bandwidth=estimator.prior_bandwidth,
        solver=estimator.solver,
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        batch_size=estimator.batch_size,
        learning_rate_init=estimator.learning_rate_init,
        early_stopping=estimator.early_stopping,
        validation_fraction=estimator.validation_fraction,
        n_iter_no_change=estimator.n_iter_no_change,
        device=estimator.device,
        random_state=estimator.random_state,
        verbose=estimator.verbose,
    )


def _architecture(estimator):
    return Architecture(
        n_features=estimator.n_features_in_,
        n_blocks=estimator.n_blocks,
        hidden_layer_sizes=_hidden_layer_sizes(estimator.hidden_layer_sizes),
        n_pieces=None if isinstance(estimator.n_pieces, str) else estimator.n_pieces,
        lipschitz=estimator.lipschitz,
        has_operator=is_given(estimator.operator),
        image_shape=_image_shape(estimator.image_shape),
        kernel_size=estimator.kernel_size,
    )


def _hidden_layer_sizes(given):
    """Positive integers as a tuple; None where the branch decides."""
    if isinstance(given, str):
        return None
    sizes = tuple(np.atleast_1d(given).tolist())
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be positive integers; got {given!r}.")
    return sizes


def n_pixels(image_shape, default):
    """Number of features of images of a shape, or a default where there is no shape."""
    return default if image_shape is None else math.prod(_image_shape(image_shape))


def _image_shape(given):
    """Height and width, or the sides of what is no image, as a tuple of int; None for none."""
    if given is None:
        return None
    shape = np.asarray(given)
    if shape.ndim != 1 or shape.dtype.kind not in "iu" or shape.min() < 1:
        raise ValueError(f"image_shape must be positive integers, (height, width); got {given!r}.")
    return tuple(shape.tolist())
