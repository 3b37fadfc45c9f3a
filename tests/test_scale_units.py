"""Units of an energy: closed forms, the certificate, what they represent, when they are used."""

import copy
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from helpers import rmse, shake
from skinvbayes import ReconstructionINN, Reconstructor
from skinvbayes.datasets import make_ill_posed
from skinvbayes.inference.posterior import interval_factor
from skinvbayes.inversion import invert
from skinvbayes.losses import ReconstructionLoss
from skinvbayes.networks import IResNet
from skinvbayes.networks.explicit_inverse import ExplicitInverse
from skinvbayes.networks.scale_units import ScaleLayer, ScaleUnits
from skinvbayes.numerics import jacobians
from skinvbayes.oracles import posterior_mean
from skinvbayes.priors import GaussianMixturePrior
from skinvbayes.problem.error_quantiles import ERROR_LEVELS, ErrorQuantiles
from skinvbayes.problem.gaussian import linear_estimator
from skinvbayes.training import stages, trial
from skinvbayes.training.held_out_errors import error_quantiles, held_out_errors
from skinvbayes.training.stages import train

# features, units, pieces and subtracted ones of them, scale units, rows of each
SHAPES = [(1, 2, 2, 0, 3, 1), (3, 1, 2, 0, 4, 2), (3, 4, 3, 2, 2, 3), (12, 2, 2, 1, 5, 4)]


def make_network(
    n_features, n_units, n_pieces, n_subtracted, n_scale_units, n_scale_rows, *, lipschitz=0.95
):
    """A network of one block with weights far from their start, and points."""
    generator = torch.Generator().manual_seed(1)
    options = {
        "n_pieces": n_pieces,
        "n_subtracted": n_subtracted,
        "n_scale_units": n_scale_units,
        "n_scale_rows": n_scale_rows,
        "pace": 0.3,
    }
    sizes = {"hidden_layer_sizes": (n_units,), "lipschitz": lipschitz}
    network = IResNet(n_features, **sizes, block_options=options, generator=generator).double()
    spread = 0.5 + torch.rand(n_features, generator=generator, dtype=torch.float64)
    network.blocks[0].start_scales(spread - 1, spread)
    shake(network, 0.5, generator)
    with torch.no_grad():
        network.blocks[0].scales.log_amplitude.add_(1.5)
    return network, torch.randn(20, n_features, generator=generator, dtype=torch.float64)


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    return make_network(*request.param)


def gradients(network, value):
    found = torch.autograd.grad(value, list(network.parameters()), allow_unused=True)
    zeros = (torch.zeros_like(p) for p in network.parameters())
    return [z if g is None else g for g, z in zip(found, zeros, strict=True)]


@pytest.mark.parametrize(
    ("closed_form", "by_autograd"),
    [
        (IResNet.forward, lambda n, x: n(x.clone().requires_grad_())),
        (IResNet.jacobian, lambda n, x: jacobians.jacobian(n.forward, x)),
        (IResNet.divergence, lambda n, x: jacobians.divergence(n.forward, x)),
        (IResNet.logabsdet, lambda n, x: jacobians.logabsdet(jacobians.jacobian(n.forward, x))),
    ],
    ids=["value", "jacobian", "divergence", "logabsdet"],
)
def test_closed_forms_equal_autograd(case, closed_form, by_autograd):
    network, x = case
    fast, exact = closed_form(network, x), by_autograd(network, x)
    torch.testing.assert_close(fast, exact, rtol=1e-10, atol=1e-10)
    probe = torch.randn(fast.shape, generator=torch.Generator().manual_seed(0)).double()
    of_fast, of_exact = (gradients(network, (probe * value).sum()) for value in (fast, exact))
    torch.testing.assert_close(of_fast, of_exact, rtol=1e-9, atol=1e-10)


def test_products_and_averages_are_those_of_the_jacobian(case):
    network, x = case
    (block,) = network.blocks
    J, v = block.jacobian(x), x.flip(0)
    product = block.product_from(block.call_and_slopes(x)[1])(v)
    torch.testing.assert_close(product, torch.einsum("nij,nj->ni", J, v))
    torch.testing.assert_close(block.mean_jacobian(x), J.mean(0))
    single = block.product_from(block.call_and_slopes(x)[1], torch.float32)(v.float())
    torch.testing.assert_close(single.double(), product, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lipschitz", [0.5, 0.999])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_certificate_holds(shape, lipschitz):
    network, _ = make_network(*shape, lipschitz=lipschitz)
    (block,) = network.blocks
    a, b = (bound.item() for bound in block.bounds())
    assert (b - a) / (b + a) <= lipschitz
    radii = torch.logspace(-2, 1.5, 3000, dtype=torch.float64)[:, None]
    directions = torch.randn(3000, shape[0], generator=torch.Generator().manual_seed(2)).double()
    spectra = torch.linalg.eigvalsh(block.jacobian(radii * directions))
    assert a * (1 - 1e-9) <= spectra.min() and spectra.max() <= b * (1 + 1e-9)


@pytest.mark.parametrize("threshold", [-3.0, 0.0, 1.0, 8.0, 40.0])
def test_the_bound_of_a_unit_is_nearly_attained(threshold):
    layer = ScaleLayer(1, 1, 1, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        layer.threshold.fill_(threshold)
    units, _ = layer.units_and_bounds()
    x = torch.linspace(0, 60, 100_001, dtype=torch.float64)[:, None]
    steepest = units.jacobian(units.slopes(x), torch.zeros(1, 1)).max()
    bound = layer.bounding().square().sum()
    assert steepest <= bound
    if threshold >= 0:
        assert steepest > 0.85 * bound


def test_inversion(case):
    network, x = case
    found = invert(network, network(x).detach())
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=1e-8, atol=1e-8)
    inverse = ExplicitInverse(network)
    torch.testing.assert_close(inverse(network(x).detach()), x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_blends_lie_between_the_map_and_the_identity(share):
    network, x = make_network(4, 2, 3, 0, 3, 2, lipschitz=0.9999)
    blended = copy.deepcopy(network)
    blended.blocks[0].blend(share)
    expected = (1 - share) * network(x) + share * x
    torch.testing.assert_close(blended(x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_features", [1, 3])
def test_one_unit_is_the_posterior_mean_of_signals_of_two_sizes(n_features):
    variances, noise, weights = np.array([0.2, 3.0]), 0.5, np.array([0.7, 0.3])
    eye = np.eye(n_features)
    prior = GaussianMixturePrior(
        np.zeros((2, n_features)), variances[:, None, None] * eye, weights=weights
    )
    total = variances + noise**2
    gains = variances / total
    curvature = 1 / total[0] - 1 / total[1]
    odds = np.log(weights[1] / weights[0]) - n_features / 2 * np.log(total[1] / total[0])
    unit = ScaleUnits(
        torch.tensor(np.sqrt(curvature) * eye)[None],
        torch.zeros(1, n_features, dtype=torch.float64),
        torch.tensor([-odds]),
        torch.tensor([(gains[1] - gains[0]) / curvature]),
    )
    y = 2 * np.random.RandomState(0).standard_normal((50, n_features))
    found = unit.image_and_slopes(torch.tensor(y), torch.tensor(gains[0] * y))[0]
    exact = posterior_mean(prior, y, operator=eye, noise_level=noise)
    np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)


# --------------------------------------------------------------------------------- in estimators


@pytest.fixture(scope="module")
def steps():
    return make_ill_posed("abel", 800, 500, prior="piecewise_constant", n_features=40)


@pytest.fixture(scope="module")
def fitted(steps):
    estimator = ReconstructionINN(operator=steps.operator, max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the loss was still falling
        return estimator.fit(steps.X_train, steps.Y_train)


@pytest.fixture(scope="module")
def linear_error(steps):
    X = steps.X_train
    known = steps.operator, steps.noise_level
    linear = linear_estimator(X.mean(axis=0), np.cov(X.T, bias=True), *known)
    return rmse(linear(steps.Y_test), steps.X_test)


def test_steps_are_reconstructed_better_than_by_any_linear_filter(steps, fitted, linear_error):
    assert rmse(fitted.predict(steps.Y_test), steps.X_test) < 0.85 * linear_error
    assert fitted.prior_bandwidth_ == 0  # units for scales alone learn from the pairs as they are
    assert fitted.network_.lipschitz().max() <= fitted.lipschitz
    x = fitted.predict(steps.Y_test[:20])
    z = steps.Y_test[:20] @ steps.operator
    assert rmse(fitted.transform(x), z) < 1e-6 * np.abs(z).max()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_intervals_are_as_long_as_errors_of_held_out_signals_say(steps, fitted, coverage):
    """Most errors of such signals are much smaller than their standard deviations."""
    lower, upper = fitted.posterior_interval(steps.Y_test, coverage)
    covered = ((lower <= steps.X_test) & (steps.X_test <= upper)).mean()
    assert covered == pytest.approx(coverage, abs=0.07)
    found, std = fitted.predict(steps.Y_test, return_std=True)
    gaussian = (np.abs(found - steps.X_test) <= norm.ppf((1 + coverage) / 2) * std).mean()
    assert gaussian > covered
    stored = pickle.loads(pickle.dumps(fitted)).posterior_interval(steps.Y_test, coverage)
    np.testing.assert_array_equal(stored, [lower, upper])


def test_intervals_of_a_pipeline_are_those_of_its_estimator(steps, fitted):
    pipeline = make_pipeline(MaxAbsScaler(), clone(fitted).set_params(operator=None, max_iter=20))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reconstructor = Reconstructor(pipeline).fit(steps.Y_train, steps.X_train)
    scaler, estimator = reconstructor.estimator_[0], reconstructor.estimator_[1]
    Y = steps.Y_test[:20]
    ends = [scaler.inverse_transform(end) for end in estimator.posterior_interval(Y)]
    np.testing.assert_allclose(reconstructor.posterior_interval(Y), ends, atol=1e-8)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_lengths_of_intervals_follow_the_standard_deviation(coverage):
    """Uniform errors of a spread that is twice what is promised at most, and a third at least."""
    rng = np.random.default_rng(0)
    std = np.exp(rng.uniform(0, 3, 20_000))
    spread = 1 / 3 + np.log(std) * (2 - 1 / 3) / 3
    quantiles = ErrorQuantiles.of(rng.uniform(-1, 1, std.shape) * spread * std, std, 1000, 8)
    at = np.exp([0.3, 1.5, 2.7])
    expected = coverage * (1 / 3 + np.log(at) * (2 - 1 / 3) / 3)
    np.testing.assert_allclose(quantiles.factor(coverage, at), expected, rtol=0.03)
    beyond = quantiles.factor(coverage, np.array([0.0, 1e-9, 1e9]))
    np.testing.assert_allclose(beyond, quantiles.factor(coverage, quantiles.std)[[0, 0, -1]])
    mean = quantiles.factor(coverage, quantiles.std).mean()
    assert quantiles.factor(coverage) == pytest.approx(mean)


@pytest.mark.parametrize("n_signals", [1, 39, 400])
def test_equal_standard_deviations_are_one_group(n_signals):
    errors = np.random.default_rng(0).standard_normal(500)
    quantiles = ErrorQuantiles.of(errors, np.full(500, 2.0), n_signals, 8)
    np.testing.assert_allclose(quantiles.std, [2.0])
    ends = np.abs(errors).min() / 2, np.abs(errors).max() / 2
    np.testing.assert_allclose(quantiles.ratios[0, [0, -1]], ends)


def test_few_held_out_signals_make_intervals_longer(steps, fitted):
    network, problem = fitted.network_, fitted.problem_
    X, Z = steps.X_test, problem.targets(steps.Y_test)[None]
    trained = SimpleNamespace(network=network, problem=problem)
    many, some = (
        error_quantiles([held_out_errors(network, problem, 0.0, X[:n], Z[:, :n])], trained)
        for n in (len(X), 20)
    )
    assert many.ratios.shape == (1, ERROR_LEVELS) and (np.diff(many.ratios) >= 0).all()
    assert interval_factor(0.9, many) == pytest.approx(many.ratios[0, 180])
    unadjusted = np.quantile(_ratios(fitted, steps, 20), np.linspace(0, 1, ERROR_LEVELS))
    (some,) = some.ratios
    assert (some >= unadjusted - 1e-9).all() and some[180] == pytest.approx(
        np.quantile(_ratios(fitted, steps, 20), 0.9 * 21 / 20)
    )


def _ratios(fitted, steps, n):
    found, std = fitted.predict(steps.Y_test[:n], return_std=True)
    return np.abs(found - steps.X_test[:n]) / std


@pytest.mark.parametrize("seed", [4, 43])
def test_few_sparse_signals_are_not_learned_by_heart(seed):
    """In a third of a training, scale units seem better than they will be after the whole."""
    n, n_features = 200, 34
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 1000, n_features)) * (rng.random((n + 1000, n_features)) < 0.1)
    A = rng.standard_normal((n_features // 2, n_features)) / np.sqrt(n_features)
    level = 0.1 * (X @ A.T).std()
    Y = X @ A.T + level * rng.standard_normal((len(X), len(A)))
    estimator = ReconstructionINN(operator=A, noise_level=level, max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X[:n], Y[:n])
    linear = linear_estimator(X[:n].mean(axis=0), np.cov(X[:n].T, bias=True), A, level)
    assert rmse(estimator.predict(Y[n:]), X[n:]) < rmse(linear(Y[n:]), X[n:])


@pytest.mark.parametrize("n_pairs, n_iter", [(800, 12), (1400, 4)])
def test_trials_of_few_pairs_are_whole_trainings(n_pairs, n_iter, monkeypatch):
    trained = []

    def recorded(specification, *args, **options):
        trained.append((specification.architecture.has_clusters, specification.max_iter))
        return train(specification, *args, **options)

    monkeypatch.setattr(trial, "train", recorded)
    data = make_ill_posed("abel", n_pairs, 1, prior="piecewise_constant", n_features=34)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ReconstructionINN(operator=data.operator, max_iter=12).fit(data.X_train, data.Y_train)
    assert trained[0] == (False, n_iter)
    assert (True, 12) not in trained  # with units for clusters a third is enough


def test_what_no_measurement_tells_hardly_counts(steps, fitted, monkeypatch):
    metrics = {}
    original = stages.minimize

    def recorded(network, objective, **options):
        (block,) = network.explicit_inverse.blocks
        metrics[block.n_pieces > 2] = objective.loss.metric
        return original(network, objective, **options)

    monkeypatch.setattr(stages, "minimize", recorded)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clone(fitted).set_params(max_iter=10).fit(steps.X_train, steps.Y_train)
    information = fitted.problem_.unit_information
    assert information.max() <= 1 and information.min() < 0.5
    np.testing.assert_allclose(metrics[False], information + 0.01, atol=0.03)
    assert metrics.get(True) is None
    x, z = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.tensor([1.0, 0.5, 0.01])
    network, plain = IResNet(3).double().eval(), ReconstructionLoss()
    rows = ReconstructionLoss(metric=weights)(network, x, z)
    found = invert(network, z).x
    torch.testing.assert_close(rows, 0.5 * ((found - x) ** 2 * weights).sum(1))
    ones = ReconstructionLoss(metric=torch.ones(3))(network, x, z)
    torch.testing.assert_close(ones, plain(network, x, z))


def test_a_training_goes_on_with_the_units_that_the_trial_chose(steps, fitted, linear_error):
    again = copy.deepcopy(fitted).set_params(warm_start=True, max_iter=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again.fit(steps.X_train, steps.Y_train)
    assert len(again.loss_curve_) == len(fitted.loss_curve_) + 10
    assert rmse(again.predict(steps.Y_test), steps.X_test) < 0.85 * linear_error
    assert again.prior_bandwidth_ == 0
    again.partial_fit(steps.X_train, steps.Y_train)
    assert rmse(again.predict(steps.Y_test), steps.X_test) < linear_error


def test_the_number_of_units_is_the_users(steps):
    estimator = ReconstructionINN(
        operator=steps.operator, hidden_layer_sizes=3, n_pieces=4, max_iter=10, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(steps.X_train, steps.Y_train)
    (block,) = estimator.network_.explicit_inverse.blocks
    assert block.weight.shape == (3, 4, 40) and block.scales is None
