"""The caller's modes of torch and numpy change no result, and are as they were afterwards."""

import ast
import copy
import pickle
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io as sio
import torch
from scipy.sparse.linalg import LinearOperator
from sklearn.model_selection import GridSearchCV

import skinvbayes
from skinvbayes import (
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
    oracles,
)
from skinvbayes.datasets import make_bimodal
from skinvbayes.diagnostics import optimal_prior_term, pushforward_score, sufficiency_gap
from skinvbayes.networks import IResNet, ResidualBlock
from skinvbayes.operators import NonlinearOperator
from skinvbayes.priors import KernelDensityPrior

OPTIONS = {"max_iter": 3, "random_state": 0}
PACKAGE = Path(skinvbayes.__file__).parent


@contextmanager
def setting(set_to, value, before):
    """A setting without a context manager of its own."""
    set_to(value)
    try:
        yield
    finally:
        set_to(before)


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "meta device": lambda: setting(torch.set_default_device, "meta", None),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "few digits": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "numpy raises": lambda: np.errstate(all="raise"),
}


@contextmanager
def all_modes():
    """All of them at once."""
    with ExitStack() as stack:
        for mode in MODES.values():
            stack.enter_context(mode())
        yield


def modes_now():
    """The modes that hold where this is called."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(0).device,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "digits": torch.get_float32_matmul_precision(),
        "numpy": np.geterr(),
    }


@pytest.fixture(scope="module")
def pairs():
    data = make_bimodal(40, noise_level=0.3, random_state=0)
    return data.X, data.Y


def work(estimator, X, Y):
    """Use all methods; the results, and estimators that were made on the way."""
    estimator = estimator.fit(X, Y)
    stored, other = pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)
    some, few = X[:9], Y[:9]
    results = [
        *estimator.predict(Y, return_std=True),
        *(estimator.transform(some), estimator.jacobian(some), estimator.prior_term(some)),
        *(estimator.inverse_transform(some), estimator.posterior_covariance(few)),
        *(*estimator.posterior_interval(few), estimator.posterior_std(few, method="probing")),
        estimator.sample_posterior(few, 2, random_state=0),
        *(estimator.score(X, Y), stored.predict(few), other.partial_fit(X, Y).predict(few)),
    ]
    return results, [estimator, stored, other]


def go_on(estimator, X, Y):
    """Train an estimator further, in both ways."""
    estimator.set_params(warm_start=True).partial_fit(X, Y).fit(X, Y)
    return [estimator.predict(Y), np.array(estimator.loss_curve_)]


def with_warnings(function, *arguments):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = function(*arguments)
    return result, [(w.category, str(w.message)) for w in found]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


ESTIMATORS = {
    "L-BFGS": DivergenceRegularizedINN(**OPTIONS),
    "explicit inverse": ReconstructionINN(hidden_layer_sizes=2, n_pieces=8, **OPTIONS),
    "perceptron": LogDetRegularizedINN(residual="mlp", n_blocks=2, solver="adam", **OPTIONS),
}


@pytest.fixture(scope="module", params=ESTIMATORS.values(), ids=ESTIMATORS)
def estimator_and_expected(request, pairs):
    """An estimator, and what it gives in the default modes."""
    (results, made), told = with_warnings(work, copy.deepcopy(request.param), *pairs)
    return request.param, results, told, [go_on(estimator, *pairs) for estimator in made]


@pytest.mark.filterwarnings("ignore:.*still falling")
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_modes_change_no_result(mode, estimator_and_expected, pairs):
    """Nor warnings; what was fitted, unpickled or copied in them can be trained on after them."""
    estimator, expected, expected_warnings, later = estimator_and_expected
    with mode():
        before = modes_now()
        (found, made), told = with_warnings(work, copy.deepcopy(estimator), *pairs)
        assert modes_now() == before
    assert_same(found, expected)
    assert told == expected_warnings
    for one, continued in zip(made, later, strict=True):
        assert_same(go_on(one, *pairs), continued)


def same_in_all_modes(function):
    expected = function()
    with all_modes():
        before = modes_now()
        found = function()
        assert modes_now() == before
    assert_same(found, expected)


@pytest.mark.filterwarnings("ignore")
def test_images_and_missing_measurements():
    images = np.random.RandomState(0).standard_normal((12, 16))
    Y = images + 0.1 * np.random.RandomState(1).standard_normal(images.shape)
    incomplete = np.where(np.arange(16) % 5, Y, np.nan)[:4]
    conv = {"residual": "conv", "image_shape": (4, 4), "kernel_size": 3, "hidden_layer_sizes": 9}
    options = {"operator": np.eye(16), "noise_level": 0.1, **conv, **OPTIONS, "max_iter": 1}

    def run():
        estimator = DivergenceRegularizedINN(**options).fit(images, Y)
        resized = estimator.adapt(image_shape=(4, 5), operator=np.eye(20), noise_level=0.1)
        return [
            *(estimator.predict(Y), estimator.predict(incomplete), estimator.transform(images)),
            resized.predict(np.ones((1, 20))),
        ]

    same_in_all_modes(run)


@pytest.mark.filterwarnings("ignore")
def test_other_measurements(pairs):
    X, Y = pairs
    options = {"operator": np.eye(2), "noise_level": 0.3, **OPTIONS}
    curve = NonlinearOperator(lambda x: x + 0.1 * x**3)

    def run():
        estimator = DivergenceRegularizedINN(**options).fit(X)
        adapted = estimator.adapt(operator=curve, noise_level=0.2)
        return [
            *(estimator.predict(Y, noise_level=0.2), adapted.predict(Y[:5])),
            *(adapted.posterior_covariance(Y[:5]), adapted.prior_score(X), curve.jacobian(X)),
        ]

    same_in_all_modes(run)


@pytest.mark.filterwarnings("ignore")
def test_searches_in_threads(pairs):
    X, Y = pairs
    estimator = DivergenceRegularizedINN(**OPTIONS)

    def run():
        with joblib.parallel_config(backend="threading"):
            search = GridSearchCV(estimator, {"epsilon": [0.05, 0.1]}, cv=2, n_jobs=2).fit(X, Y)
        regressor = Reconstructor(estimator).fit(Y, X)
        return [search.cv_results_["mean_test_score"], search.predict(Y), regressor.predict(Y)]

    same_in_all_modes(run)


@pytest.mark.filterwarnings("ignore")
def test_theory():
    """Oracles, priors and diagnostics; measurements far from all signals make numbers underflow."""
    data = make_bimodal(60, noise_level=0.3, random_state=0)
    X, far = data.X, np.vstack([data.Y[:5], 50 * data.Y[:3]])
    kernels = KernelDensityPrior(X)

    def run():
        estimator = LogDetRegularizedINN(**OPTIONS).fit(X, data.Y)
        return [
            pushforward_score(estimator, X, data.prior),
            optimal_prior_term(estimator, X, data.prior),
            sufficiency_gap(data.prior, far, operator=np.eye(2), noise_level=0.02),
            oracles.posterior_mean(data.prior, far, noise_level=0.02),
            oracles.map_estimate(data.prior, far, noise_level=0.02),
            *(data.prior.score(far), data.prior.hessian(far), data.prior.log_density(far)),
            *(kernels.score(far), kernels.log_density(far)),
        ]

    same_in_all_modes(run)


@pytest.mark.filterwarnings("ignore")
def test_loaded_by_skops_in_inference_mode(pairs, tmp_path):
    estimator = DivergenceRegularizedINN(**OPTIONS).fit(*pairs)
    sio.dump(estimator, tmp_path / "model")
    with torch.inference_mode():
        unknown = sio.get_untrusted_types(file=tmp_path / "model")
        loaded = sio.load(tmp_path / "model", trusted=unknown)
    assert_same(go_on(loaded, *pairs), go_on(estimator, *pairs))


@pytest.mark.filterwarnings("ignore")
def test_an_operator_of_torch_needs_no_mode(pairs):
    """An operator that hands on the result of a torch module, which has parameters."""
    linear = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)

    def product(x):
        return linear(torch.as_tensor(x.T)).numpy().T

    def adjoint(y):
        return (torch.as_tensor(y.T) @ linear.weight).numpy().T

    operator = LinearOperator(
        (2, 2), matvec=product, matmat=product, rmatvec=adjoint, rmatmat=adjoint, dtype=float
    )
    X, Y = pairs
    estimator = DivergenceRegularizedINN(operator=operator, noise_level=0.3, **OPTIONS)
    assert np.isfinite(estimator.fit(X, Y).predict(Y)).all()


class LinearBlock(ResidualBlock):
    """A residual branch as users write it, in torch's default modes."""

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        weight = torch.randn(n_features, n_features, generator=generator)
        self.weight = torch.nn.Parameter(weight)

    def residual(self, x):
        norm = torch.linalg.matrix_norm(self.weight, 2)
        return self.max_lipschitz * x @ (self.weight / norm).T

    def lipschitz(self):
        return self.weight.new_tensor(self.max_lipschitz)


def test_blocks_of_users_are_built_on_the_cpu():
    with torch.device("meta"):
        network = IResNet(2, residual=LinearBlock, hidden_layer_sizes=(3,), lipschitz=0.9)
    assert {p.device.type for p in [*network.parameters(), *network.buffers()]} == {"cpu"}


NEEDS_DTYPE = {"empty", "eye", "full", "linspace", "ones", "rand", "randn", "zeros"}
NEEDS_DEVICE = NEEDS_DTYPE | {"arange", "as_tensor", "randint", "randperm", "tensor"}


def calls_of_torch(path):
    """The calls of functions of torch in a module: their names, and the keywords they are given."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("torch."):
            yield ast.unparse(node), node.func.attr, {keyword.arg for keyword in node.keywords}


def test_tensors_are_made_with_dtype_and_device():
    """The defaults of both are the caller's."""
    for path in PACKAGE.rglob("*.py"):
        for call, name, given in calls_of_torch(path):
            stated = None in given  # by **
            assert stated or name not in NEEDS_DTYPE or "dtype" in given, f"{path}: {call}"
            assert stated or name not in NEEDS_DEVICE or "device" in given, f"{path}: {call}"
