"""Sizes in the files of strangers: they are compared before memory is taken for them."""

import numbers

import numpy as np

from ..problem.error_quantiles import ERROR_LEVELS

__all__ = ["check_network_sizes", "check_problem_shapes"]

_SURPLUS = 8  # times as many numbers as a file has, that its network may need


def check_network_sizes(config, arrays, n_signal):
    """Refuse the configuration of a network that is much larger than the arrays beside it.

    Parameters
    ----------
    config : dict
        The configuration.
    arrays : dict of str to ndarray
        The weights by their names.
    n_signal : int
        Numbers in one signal; filters have fewer weights than that.

    Raises
    ------
    ValueError
        If a size is larger than all arrays together, or the weights would be.
    """
    n_entries = n_signal + sum(np.size(array) for array in arrays.values())
    n_features, n_blocks = int(config["n_features"]), int(config["n_blocks"])
    layers = n_features, *map(int, config["hidden_layer_sizes"]), n_features
    sizes = [*layers, n_blocks, *_integers(config["block_options"].values())]
    if max(sizes) > n_entries or _n_weights(config, layers) > _SURPLUS * n_entries:
        raise ValueError(
            f"The stored network does not fit its configuration: {n_entries} numbers are stored, "
            f"and the configuration asks for many more, {config!r}."
        )


def _n_weights(config, layers):
    """About as many numbers as the weights have; none of a branch of the user's."""
    options, residual = config["block_options"], config["residual"]
    if residual == "conv":
        n_weights = int(options["kernel_size"]) ** len(options["image_shape"])
        return n_weights * sum(map(int, config["hidden_layer_sizes"]))
    if residual not in ("gradient", "mlp"):
        return 0
    largest = max(a * b for a, b in zip(layers, layers[1:], strict=False))
    if residual == "gradient":
        n_scale_rows = int(options.get("n_scale_units", 0)) * int(options.get("n_scale_rows", 1))
        largest = largest * int(options.get("n_pieces", 1)) + n_scale_rows * layers[0]
    return int(config["n_blocks"]) * largest


def _integers(values):
    for value in values:
        if isinstance(value, numbers.Integral):
            yield int(value)
        elif isinstance(value, (list, tuple)):
            yield from _integers(value)


def check_problem_shapes(problem, n_features):
    """Refuse a problem whose arrays do not fit each other.

    Parameters
    ----------
    problem : InverseProblem
        What an estimator knows of its problem.
    n_features : int
        Dimension of the signals.

    Raises
    ------
    ValueError
        If the shape of an array is not as it must be; the message names it.
    """
    c, measurement = problem.coordinates, problem.measurement
    square = n_features, n_features
    expected = {
        "signal_mean": (c.signal_mean, (n_features,)),
        "target_mean": (c.target_mean, (n_features,)),
        "basis": (c.basis, square if np.ndim(c.basis) else ()),
        "inverse_basis": (c.inverse_basis, np.shape(c.basis)),
        "signal_std": (problem.signal_std, (n_features,)),
    }
    if measurement.offset is not None:
        expected["offset"] = measurement.offset, (measurement.noise.n_measurements,)
    if problem.error_quantiles is not None:
        quantiles, n_groups = problem.error_quantiles, len(problem.error_quantiles.std)
        expected["error_quantiles"] = quantiles.ratios, (n_groups, ERROR_LEVELS)
    if problem.clusters is not None:
        clusters, size = problem.clusters, (len(problem.clusters.shares), n_features)
        expected["means of clusters"] = clusters.means, size
        expected["covariances of clusters"] = clusters.covariances, (*size, n_features)
    for name, (array, shape) in expected.items():
        if np.shape(array) != shape:
            raise ValueError(
                f"The stored estimator is incomplete or damaged: {name} has the shape "
                f"{np.shape(array)}, and {shape} is expected. Store it again, or fit again."
            )
