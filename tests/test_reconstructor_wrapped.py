"""A Reconstructor around pipelines and searches answers in the units of the signals."""

import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator
from scipy.stats import norm
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.operators import NonlinearOperator

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling")

SCALE, MEAN = np.array([50.0, 0.2]), np.array([400.0, 3.0])
A = np.array([[1.0, 0.3], [0.0, 0.8], [0.4, -0.2]]) / SCALE
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
METHODS = ("posterior_covariance", "posterior_interval", "posterior_std", "sample_posterior")


def small(**options):
    return DivergenceRegularizedINN(**SMALL, **options)


@pytest.fixture(scope="module")
def data():
    """Positive signals of unlike sizes, and three measurements of each."""
    rng = np.random.RandomState(0)
    X = MEAN + SCALE * rng.standard_normal((150, 2))
    return X, X @ A.T + 0.2 * rng.standard_normal((150, 3))


COLUMNS = [("second", StandardScaler(), [1]), ("first", MinMaxScaler((-2, 2)), [0])]
LINEAR = {
    "StandardScaler": StandardScaler(),
    "PCA": PCA(whiten=True),
    "PCA of one": PCA(1),
    "ColumnTransformer": ColumnTransformer(COLUMNS),
    "rest kept": ColumnTransformer(COLUMNS[:1], remainder="passthrough"),
    "nested": make_pipeline(StandardScaler(), "passthrough", PCA()),
    "FunctionTransformer": FunctionTransformer(lambda x: x[:, ::-1] / 7, lambda u: 7 * u[:, ::-1]),
}


@pytest.fixture(scope="module", params=LINEAR)
def linear(request, data):
    """A Reconstructor through steps, D and the constant of the inverse, and the estimator."""
    X, Y = data
    regressor = Reconstructor(make_pipeline(LINEAR[request.param], small())).fit(Y, X)
    step, inner = regressor.estimator_[0], regressor.estimator_[-1]
    U = step.transform(X)
    design = np.hstack([U, np.ones((len(U), 1))])
    target = X
    if request.param == "PCA of one":
        target = step.inverse_transform(U)
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    return regressor, solution[:-1].T, solution[-1], inner


def test_uncertainty_through_linear_steps_is_exact(linear, data):
    regressor, D, constant, inner = linear
    Y = data[1][:5]
    expected = inner.predict(Y) @ D.T + constant
    covariance = D @ inner.posterior_covariance(Y) @ D.T
    std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    near = {"rtol": 1e-6, "atol": 1e-9}
    found, found_std = regressor.predict(Y, return_std=True)
    np.testing.assert_allclose(found, expected, **near)
    np.testing.assert_allclose(found_std, std, **near)
    np.testing.assert_allclose(regressor.posterior_std(Y), std, **near)
    np.testing.assert_allclose(regressor.posterior_covariance(Y), covariance, **near)
    lower, upper = regressor.posterior_interval(Y, 0.8)
    half = norm.ppf(0.9) * std
    np.testing.assert_allclose([lower, upper], [expected - half, expected + half], **near)
    draws = inner.sample_posterior(Y, 3, random_state=1) @ D.T + constant
    found_draws = regressor.sample_posterior(Y, 3, random_state=1)
    np.testing.assert_allclose(found_draws, draws, **near)


def test_another_operator_is_one_for_the_users_signals(linear, data):
    regressor, D, constant, inner = linear
    B = np.array([[1.0, 0.5], [-0.3, 1.0]]) / SCALE
    Y = data[0][:5] @ B.T
    scaled = inner.adapt(operator=B @ D, noise_level=0.1)
    expected = scaled.predict(Y - constant @ B.T) @ D.T + constant
    for wrap in (np.asarray, csr_array, aslinearoperator):
        adapted = regressor.adapt(operator=wrap(B), noise_level=0.1)
        np.testing.assert_allclose(adapted.predict(Y), expected, rtol=1e-6)
    assert adapted.n_features_in_ == 2 and regressor.n_features_in_ == 3
    one_gone = np.where(np.eye(5, 2, dtype=bool), np.nan, Y)
    assert np.isfinite(adapted.predict(one_gone)).all()
    nonlinear = NonlinearOperator(lambda X: X @ B.T, lambda X: np.tile(B, (len(X), 1, 1)))
    found = regressor.adapt(operator=nonlinear, noise_level=0.1).predict(Y)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# ------------------------------------------------------------------------------- nonlinear steps


@pytest.fixture(scope="module")
def logarithmic(data):
    """Signals of which the logarithm is measured."""
    X, Y = data
    steps = make_pipeline(FunctionTransformer(np.log, np.exp), small())
    X = np.exp((X - MEAN) / SCALE)
    return Reconstructor(steps).fit(Y, X), X, Y


def test_through_an_exponential_map_the_posterior_is_log_normal(logarithmic):
    regressor, _, Y = logarithmic
    inner, Y = regressor.estimator_[-1], Y[:6]
    mean, std = inner.predict(Y, return_std=True)
    expected = np.exp(mean + std**2 / 2) * np.sqrt(np.expm1(std**2))
    found, found_std = regressor.predict(Y, return_std=True)
    np.testing.assert_allclose(found, np.exp(mean))
    np.testing.assert_allclose(found_std, expected, rtol=0.06)
    covariance = regressor.posterior_covariance(Y)
    np.testing.assert_allclose(np.diagonal(covariance, axis1=1, axis2=2), found_std**2)
    for coverage, rtol in [(0.9, 0.05), (0.999, 0.25)]:
        half = norm.ppf((1 + coverage) / 2) * std
        ends = regressor.posterior_interval(Y, coverage)
        np.testing.assert_allclose(ends, [np.exp(mean - half), np.exp(mean + half)], rtol=rtol)


def test_rows_are_independent_and_calls_repeat(logarithmic):
    regressor, _, Y = logarithmic
    all_rows, some = regressor.posterior_std(Y[:6]), regressor.posterior_std(Y[2:4])
    np.testing.assert_allclose(all_rows[2:4], some, rtol=1e-9)


def test_the_operator_needs_linear_steps_and_the_noise_level_does_not(logarithmic):
    regressor, _, Y = logarithmic
    with pytest.raises(ValueError, match="steps of the pipeline are not linear"):
        regressor.adapt(operator=np.eye(2))
    estimated = Reconstructor(clone(regressor.estimator))
    estimated.estimator[-1].set_params(operator="estimate")
    estimated.fit(Y, logarithmic[1])
    noisier = estimated.adapt(noise_level=1.0)
    assert (noisier.posterior_std(Y[:3]) != estimated.posterior_std(Y[:3])).all()


@pytest.mark.parametrize("step", [PowerTransformer(), QuantileTransformer(n_quantiles=50)])
def test_statistics_of_draws_agree_with_drawn_samples(step, data):
    X, Y = data
    regressor = Reconstructor(make_pipeline(step, small())).fit(Y, X)
    Y = Y[:4]
    draws = regressor.sample_posterior(Y, 4000, random_state=3)
    np.testing.assert_allclose(regressor.posterior_std(Y), draws.std(axis=1), rtol=0.08)
    ends = np.quantile(draws, [0.1, 0.9], axis=1)
    found = np.array(regressor.posterior_interval(Y, 0.8))
    assert (np.abs(found - ends) < 0.2 * draws.std(axis=1)).all()


def test_draws_without_an_inverse_are_left_out_with_a_warning(data):
    X, Y = data
    root = FunctionTransformer(lambda x: (x - 300) ** 3, lambda u: np.sqrt(u) ** (2 / 3) + 300)
    X = 300 + np.abs(X - MEAN) / SCALE
    regressor = Reconstructor(make_pipeline(root, small())).fit(Y, X)
    Y = Y[np.isfinite(regressor.predict(Y)).all(axis=1)][:5]
    with pytest.warns(UserWarning, match="draws of the posterior have no inverse"):
        std = regressor.posterior_std(Y)
    assert np.isfinite(std).all()


# -------------------------------------------------------------------------------------- searches

GRID = {"epsilon": [0.04, 0.1]}
STEP_GRID = {"divergenceregularizedinn__epsilon": [0.04, 0.1]}
SEARCHES = {
    "grid": GridSearchCV(small(), GRID, cv=2),
    "halving": HalvingGridSearchCV(small(), GRID, cv=2, random_state=0),
    "random": RandomizedSearchCV(small(), GRID, n_iter=2, cv=2, random_state=0),
    "of a pipeline": GridSearchCV(make_pipeline(StandardScaler(), small()), STEP_GRID, cv=2),
    "in a pipeline": make_pipeline(StandardScaler(), GridSearchCV(small(), GRID, cv=2)),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_and_pipelines_of_searches(name, data):
    X, Y = data
    assert all(hasattr(Reconstructor(SEARCHES[name]), method) for method in METHODS)
    regressor = Reconstructor(SEARCHES[name]).fit(Y, X)
    fitted = regressor.estimator_
    if name == "in a pipeline":
        best = make_pipeline(fitted[0], fitted[-1].best_estimator_)
    else:
        best = fitted.best_estimator_
    plain = Reconstructor(clone(best)).fit(Y, X)
    for method in ("predict", *METHODS[:3]):
        expected = getattr(plain, method)(Y[:5])
        np.testing.assert_allclose(getattr(regressor, method)(Y[:5]), expected)
    drawn = [r.sample_posterior(Y[:5], 2, random_state=0) for r in (regressor, plain)]
    np.testing.assert_allclose(*drawn)
    np.testing.assert_allclose(regressor.forward(X), plain.forward(X))
    assert regressor.score(Y, X) == pytest.approx(plain.score(Y, X))
    B = np.eye(2) / SCALE
    before, V = regressor.predict(Y), X @ B.T
    adapted = [one.adapt(operator=B, noise_level=0.1).predict(V) for one in (regressor, plain)]
    np.testing.assert_allclose(*adapted)
    np.testing.assert_allclose(regressor.predict(Y), before, rtol=1e-9)  # it is as it was


def test_a_search_that_does_not_refit_is_refused_before_it_searches(data):
    search = GridSearchCV(small(), GRID, refit=False)
    with pytest.raises(ValueError, match=r"GridSearchCV\(refit=False\).*set refit=True"):
        Reconstructor(search).fit(data[1], data[0])


# ----------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (PolynomialFeatures(), "has no inverse_transform"),
        (FunctionTransformer(np.log), "has no inverse_func"),
        (ColumnTransformer([("a", StandardScaler(), [0]), ("b", "drop", [1])]), "drops columns"),
        (ColumnTransformer([("a", PolynomialFeatures(), [0, 1])]), "has no inverse_transform"),
        (make_pipeline(StandardScaler(), PolynomialFeatures()), "has no inverse_transform"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_steps_without_an_inverse_are_refused_before_training(step, reason, data):
    with pytest.raises(ValueError, match=f"cannot take reconstructions back.*{reason}"):
        Reconstructor(make_pipeline(step, small())).fit(data[1], data[0])


def test_columns_dropped_without_saying_so_are_refused(data):
    step = ColumnTransformer([("a", StandardScaler(), [0])])  # remainder="drop"
    regressor = Reconstructor(make_pipeline(step, small())).fit(data[1], data[0])
    with pytest.raises(ValueError, match="it drops 1 columns"):
        regressor.predict(data[1])


def test_methods_are_there_only_where_the_estimator_has_them(data):
    around = {"ridge": Reconstructor(Ridge()), "pipe": Reconstructor(make_pipeline(Ridge()))}
    for regressor in around.values():
        assert not any(hasattr(regressor, method) for method in (*METHODS, "adapt"))
    assert not hasattr(Reconstructor(make_pipeline(small())), "partial_fit")
    assert not hasattr(Reconstructor(GridSearchCV(small(), GRID)), "partial_fit")
    assert hasattr(Reconstructor(), "partial_fit") and hasattr(Reconstructor(), "adapt")


def test_options_of_whole_covariances_are_named(data):
    regressor = Reconstructor(make_pipeline(PCA(), small())).fit(data[1], data[0])
    with pytest.raises(ValueError, match="posterior_std takes no method, n_probes"):
        regressor.posterior_std(data[1], method="probing", n_probes=5)
    with pytest.raises(ValueError, match="coverage must be a probability"):
        regressor.posterior_interval(data[1], 2)
    with pytest.raises(ValueError, match="cannot go through the steps"):
        regressor.adapt(operator=np.eye(2), image_shape=(1, 2))
    with pytest.raises(ValueError, match="signals have 2 features.*in your units"):
        regressor.adapt(operator=np.eye(3))


def test_options_reach_the_estimator_through_scaling(data):
    X, Y = data
    regressor = Reconstructor(make_pipeline(StandardScaler(), small())).fit(Y, X)
    options = {"method": "probing", "n_probes": 50, "return_error": True, "random_state": 0}
    std, error = regressor.posterior_std(Y[:3], **options)
    inner = regressor.estimator_[-1].posterior_std(Y[:3], **options)
    scale = regressor.estimator_[0].scale_
    np.testing.assert_allclose([std, error], np.multiply(scale, inner), rtol=1e-6)


def test_one_dimensional_signals_and_single_precision(data):
    X, Y = data
    regressor = Reconstructor(make_pipeline(StandardScaler(), small())).fit(Y, X[:, 0])
    found, std = regressor.predict(Y[:4].astype(np.float32), return_std=True)
    lower, upper = regressor.posterior_interval(Y[:4].astype(np.float32))
    for array in (found, std, lower, upper):
        assert array.shape == (4,) and array.dtype == np.float32
    assert (lower < found).all() and (found < upper).all()


# ----------------------------------------------------------------------------------- going on


def test_partial_fit_is_that_of_the_estimator(data):
    X, Y = data
    regressor, plain = Reconstructor(small()), small()
    for rows in (slice(0, 80), slice(80, None)):
        regressor.partial_fit(Y[rows], X[rows])
        plain.partial_fit(X[rows], Y[rows])
    np.testing.assert_allclose(regressor.predict(Y), plain.predict(Y), rtol=1e-9)
    assert len(regressor.estimator_.loss_curve_) == 2
    assert not hasattr(regressor.estimator, "network_")
    with pytest.raises(ValueError, match="expecting 3 features"):
        regressor.partial_fit(Y[:, :2], X)


def test_weights_are_routed_to_partial_fit(data):
    X, Y = data
    weight = np.arange(150) % 3
    with sklearn.config_context(enable_metadata_routing=True):
        inner = small().set_partial_fit_request(sample_weight=True)
        found = Reconstructor(inner).partial_fit(Y, X, sample_weight=weight).predict(Y)
    expected = small().partial_fit(X, Y, sample_weight=weight).predict(Y)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_warm_start_goes_on(data):
    X, Y = data
    plain = small(warm_start=True)
    regressor = Reconstructor(small(warm_start=True))
    for _ in range(2):
        plain.fit(X, Y)
        regressor.fit(Y, X)
    np.testing.assert_allclose(regressor.predict(Y), plain.predict(Y), rtol=1e-9)
    cold = Reconstructor(small()).fit(Y, X).fit(Y, X)
    assert (cold.predict(Y) != regressor.predict(Y)).any()
    regressor.estimator = ReconstructionINN(warm_start=True, **SMALL)  # another class starts anew
    fresh = ReconstructionINN(**SMALL).fit(X, Y)
    np.testing.assert_allclose(regressor.fit(Y, X).predict(Y), fresh.predict(Y), rtol=1e-9)


def test_warm_start_through_a_pipeline_is_refused(data):
    X, Y = data
    regressor = Reconstructor(make_pipeline(StandardScaler(), small(warm_start=True))).fit(Y, X)
    with pytest.raises(ValueError, match="warm_start=True does not go on through Pipeline"):
        regressor.fit(Y, X)
    assert np.isfinite(regressor.predict(Y)).all()
