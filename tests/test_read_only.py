"""Models and inputs in read-only memory: mapped from files, handed to workers, or protected."""

import warnings

import joblib
import numpy as np
import pytest
import torch

from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_mixture
from skinvbayes.numerics.tensors import as_tensor

OPTIONS = {"max_iter": 3, "random_state": 0}
A = np.array([[1.0, 0.2], [0.0, 0.7], [0.5, 0.5]])


@pytest.fixture(autouse=True)
def no_warning_of_torch():
    """Torch tells of read-only memory every time, not once for each process; that is an error."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*not writable")
        warnings.filterwarnings("ignore", ".*still falling")
        yield
    torch.set_warn_always(before)


@pytest.fixture(scope="module")
def rows():
    """60 signals and their measurements by A."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((60, 2))
    return X, X @ A.T + 0.1 * rng.standard_normal((60, 3))


def in_images():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((12, 16))
    options = {"residual": "conv", "image_shape": (4, 4), "kernel_size": 3}
    estimator = DivergenceRegularizedINN(
        operator=np.eye(16), noise_level=0.1, hidden_layer_sizes=9, **options, **OPTIONS
    )
    return estimator, X, X + 0.1 * rng.standard_normal(X.shape)


def in_noise_of_two_kinds():
    data = make_mixture(60, 5, n_features=3, operator="tall", random_state=0)
    estimator = DivergenceRegularizedINN(
        operator=data.operator, noise_level=np.linspace(0.1, 0.2, data.Y_train.shape[1]), **OPTIONS
    )
    return estimator, data.X_train, data.Y_train


def in_the_plane(cls, **parameters):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((60, 2))
    Y = X @ A.T + 0.1 * rng.standard_normal((60, 3))
    return cls(operator=A, **OPTIONS, **parameters), X, Y


MODELS = {
    "images": in_images,
    "noise": in_noise_of_two_kinds,
    "divergence": lambda: in_the_plane(DivergenceRegularizedINN),
    "reconstruction": lambda: in_the_plane(ReconstructionINN),
    "log-determinant": lambda: in_the_plane(LogDetRegularizedINN, residual="mlp"),
}


def use(estimator, X, Y):
    """What a fitted estimator gives, before and after it was trained on."""
    results = [
        *estimator.predict(Y, return_std=True),
        *(estimator.transform(X), estimator.jacobian(X[:5]), estimator.inverse_transform(X)),
        *(estimator.posterior_std(Y[:5], method="probing"), estimator.score(X, Y)),
        estimator.sample_posterior(Y[:5], random_state=0),
    ]
    if isinstance(estimator, DivergenceRegularizedINN):
        incomplete = np.where(np.arange(Y.shape[1]) == 1, np.nan, Y[:5])
        adapted = estimator.adapt(operator=np.eye(X.shape[1]), noise_level=0.2)
        results += [estimator.predict(incomplete), adapted.predict(X[:5])]
    results.append(estimator.partial_fit(X, Y).predict(Y))
    return [*results, estimator.set_params(warm_start=True).fit(X, Y).predict(Y)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_models_mapped_from_a_file(make, tmp_path):
    estimator, X, Y = make()
    joblib.dump(estimator.fit(X, Y), tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert isinstance(mapped.problem_.coordinates.signal_mean, np.memmap)
    assert_same(use(mapped, X, Y), use(estimator, X, Y))


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_protected_inputs(make):
    estimator, X, Y = make()
    estimator.fit(X, Y)
    expected = use(estimator, X, Y)
    protected, X, Y = make()
    for array in (X, Y, protected.operator, protected.noise_level):
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    assert_same(use(protected.fit(X, Y), X, Y), expected)


def predict_strictly(estimator, Y):
    """The predictions in a worker, where a warning is an error, and whether Y was mapped."""
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return estimator.predict(Y), isinstance(Y, np.memmap)


def test_workers_that_map_what_they_are_given(rows):
    X, Y = rows
    estimator = DivergenceRegularizedINN(operator=A, **OPTIONS).fit(X, Y)
    call = joblib.delayed(predict_strictly)
    one_call = [call(estimator, Y)]  # and so one worker, which takes seconds to import torch
    ((found, mapped),) = joblib.Parallel(n_jobs=2, max_nbytes=1)(one_call)
    assert mapped
    np.testing.assert_array_equal(found, estimator.predict(Y))


def test_only_read_only_arrays_are_copied():
    array = np.zeros(3)
    as_tensor(array)[0] = 1.0
    assert array[0] == 1.0
    array.setflags(write=False)
    as_tensor(array)[0] = 2.0
    assert array[0] == 1.0
