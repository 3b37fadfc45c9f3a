"""What the tests share: the four estimators and the error by which they are judged."""

import math
from functools import partial
from importlib.util import find_spec
from unittest import SkipTest

import pytest
import sklearn
import torch
from sklearn.utils.fixes import parse_version

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.networks import IResNet
from skinvbayes.numerics.errors import row_rmse as rmse
from skinvbayes.training import stages

__all__ = [
    "ALL",
    "HAS_CALLBACKS",
    "PREDICT_TAKES_MEASUREMENTS",
    "STRICT_CHECKS",
    "conv_network",
    "every",
    "examine",
    "interrupt_at",
    "name_of",
    "needs_callbacks",
    "rmse",
    "shake",
]

HAS_CALLBACKS = find_spec("sklearn.callback") is not None
needs_callbacks = pytest.mark.skipif(
    not HAS_CALLBACKS, reason="scikit-learn has callbacks from 1.9 on"
)
ALL = [ApproximationINN, ReconstructionINN, LogDetRegularizedINN, DivergenceRegularizedINN]
every = pytest.mark.parametrize("cls", ALL)

# from scikit-learn 1.8 on, a check that passes though it is expected to fail can be a failure
_CAN_BE_STRICT = parse_version(sklearn.__version__) >= parse_version("1.8")
STRICT_CHECKS = {"xfail_strict": True} if _CAN_BE_STRICT else {}


def interrupt_at(n, monkeypatch):
    """Make the keyboard interrupt the n-th iteration of all trainings, once."""
    counted = []

    class Bar:
        def __init__(self, *args):
            pass

        def __enter__(self):
            def update(history):
                counted.append(history)
                if len(counted) == n:
                    raise KeyboardInterrupt

            return update

        def __exit__(self, *args):
            return False

    monkeypatch.setattr(stages, "progress_bar", Bar)
    return counted


def shake(network, spread, generator):
    """Add noise to all weights of a network, in place."""
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(spread * noise)


def conv_network(image_shape, kernel_size, n_filters, dilations=(1,), lipschitz=0.95, **known):
    """A network of filters with parameters far from their first values."""
    generator = torch.Generator().manual_seed(1)
    network = IResNet(
        math.prod(image_shape),
        residual="conv",
        hidden_layer_sizes=(n_filters,),
        lipschitz=lipschitz,
        **known,
        block_options=dict(image_shape=image_shape, kernel_size=kernel_size, dilations=dilations),
        generator=generator,
    ).double()
    shake(network, 0.3, generator)
    with torch.no_grad():
        network.blocks[0].log_sharpness.sub_(4.0)
    return network


# scikit-learn's checks that call predict with signals, and so must fail
PREDICT_TAKES_MEASUREMENTS = {
    "check_n_features_in_after_fitting": "expects predict to know the number of features of X",
    "check_estimators_dtypes": "calls predict(X) for X of several dtypes",
    "check_sample_weight_equivalence_on_dense_data": "compares the predict(X) of two fits",
    "check_dtype_object": "calls predict(X) for X of dtype object",
    "check_estimators_pickle": "compares predict(X) before and after pickling",
    "check_array_api_input": "compares predict(X) for two array libraries",
    "check_f_contiguous_array_estimator": "calls predict(X) for X in Fortran's order",
    "check_methods_sample_order_invariance": "compares predict(X) of permuted rows",
    "check_methods_subset_invariance": "compares predict(X) of a part of the rows",
    "check_fit2d_predict1d": "calls predict with one signal, which is rows of one measurement",
    "check_dict_unchanged": "calls predict(X) and looks for new attributes",
    "check_fit_idempotent": "compares the predict(X) of two fits",
}


def name_of(check):
    """The name of one of scikit-learn's checks."""
    while isinstance(check, partial):
        check = check.func
    return check.__name__


def examine(estimator, check):
    """Run a check; one that is expected to fail does so without the traceback, which is slow."""
    if name_of(check) not in PREDICT_TAKES_MEASUREMENTS:
        check(estimator)
        return
    try:
        check(estimator)
    except SkipTest:
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from None
