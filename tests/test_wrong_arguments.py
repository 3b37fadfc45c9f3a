"""What is no prior, estimator, axes, number or table of numbers is refused by name."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor, diagnostics
from skinvbayes.operators import as_operator, check_adjoint, check_jacobian, estimate_operator
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.plotting import (
    DeformedGridDisplay,
    EpsilonPathDisplay,
    ErrorTradeOffDisplay,
    ImagesDisplay,
    LossCurveDisplay,
    SignalDisplay,
    UncertaintyDisplay,
    VectorFieldDisplay,
)
from skinvbayes.priors import (
    EmpiricalPrior,
    GaussianMixturePrior,
    KernelDensityPrior,
    principal_axes,
)

IMAGES = {"image_shape": (1, 2)}
DISPLAYS = {
    LossCurveDisplay: lambda X, Y: (),
    DeformedGridDisplay: lambda X, Y: (),
    ErrorTradeOffDisplay: lambda X, Y: (X, Y),
    UncertaintyDisplay: lambda X, Y: (X, Y),
    VectorFieldDisplay: lambda X, Y: (X,),
}


@pytest.fixture(scope="module")
def fitted(pairs_of_module):
    return DivergenceRegularizedINN(max_iter=2, random_state=0).fit(*pairs_of_module)


@pytest.fixture(scope="module")
def pairs_of_module():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((60, 2))
    return X, X + 0.3 * rng.standard_normal((60, 2))


@pytest.mark.parametrize("prior", [None, np.eye(2), "prior"])
def test_no_priors(prior, fitted, pairs_of_module):
    X, Y = pairs_of_module
    for call in (
        lambda: posterior_mean(prior, Y, noise_level=0.3),
        lambda: map_estimate(prior, Y, noise_level=0.3),
        lambda: diagnostics.tweedie_gap(prior, Y, noise_level=0.3),
        lambda: diagnostics.optimal_prior_term(fitted, X, prior),
        lambda: diagnostics.score_error(fitted, X, prior),
        lambda: diagnostics.pushforward_score(fitted, X, prior),
        lambda: diagnostics.recovered_forward(fitted, X, prior),
    ):
        with pytest.raises(TypeError, match="prior must be"):
            call()


def test_a_prior_without_score(fitted, pairs_of_module):
    X, _ = pairs_of_module
    with pytest.raises(TypeError, match="prior must be an object with score"):
        diagnostics.score_error(fitted, X, EmpiricalPrior(X))


def test_other_estimators(fitted, pairs_of_module):
    X, Y = pairs_of_module
    reconstructor = Reconstructor(fitted).fit(Y, X)
    with pytest.raises(TypeError, match="estimator must be"):
        diagnostics.stationarity(reconstructor, Y, EmpiricalPrior(X))
    plain = ReconstructionINN(max_iter=2, random_state=0).fit(X, Y)
    with pytest.raises(TypeError, match="prior_score"):
        diagnostics.score_error(plain, X, fitted_prior())
    with pytest.raises(NotFittedError):
        diagnostics.recovered_operator(ReconstructionINN(), X, Y)
    for method in ("posterior_std", "posterior_covariance", "sample_posterior"):
        with pytest.raises(NotFittedError):
            getattr(Reconstructor(), method)(Y)


def fitted_prior():
    from skinvbayes.datasets import make_bimodal

    return make_bimodal(10, random_state=0).prior


@pytest.mark.parametrize("display", DISPLAYS)
def test_displays(display, fitted, pairs_of_module):
    arguments = DISPLAYS[display](*pairs_of_module)
    with pytest.raises(TypeError, match="estimator must be"):
        display.from_estimator(None, *arguments)
    with pytest.raises(NotFittedError):
        display.from_estimator(DivergenceRegularizedINN(), *arguments)
    for ax in ("axes", np.full(2, None), ()):
        with pytest.raises(TypeError, match="ax must be"):
            display.from_estimator(fitted, *arguments, ax=ax)


def test_displays_of_rows(fitted, pairs_of_module):
    X, Y = pairs_of_module
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ImagesDisplay.from_estimator(fitted, X[:3], Y, **IMAGES)
    with pytest.raises(NotFittedError):
        ImagesDisplay.from_estimator(DivergenceRegularizedINN(), X, Y, **IMAGES)
    with pytest.raises(NotFittedError):
        SignalDisplay.from_estimator(DivergenceRegularizedINN(), Y)


def test_rows_of_displays():
    with pytest.raises(TypeError, match="rows must be"):
        ImagesDisplay.from_predictions([np.ones((2, 2))], **IMAGES)
    with pytest.raises(ValueError, match="rows is empty"):
        ImagesDisplay.from_predictions({}, **IMAGES)
    X = np.ones((4, 2))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        UncertaintyDisplay.from_predictions(X, X, X[:3])
    with pytest.raises(TypeError, match="[Ss]parse"):
        UncertaintyDisplay.from_predictions(X, csr_array(X), X)
    with pytest.raises(TypeError, match="[Ss]parse"):
        ErrorTradeOffDisplay.from_predictions(X, X, X, csr_array(X))
    with pytest.raises(TypeError, match="[Ss]parse"):
        VectorFieldDisplay.from_predictions(csr_array(X), X)
    with pytest.raises(TypeError, match="[Ss]parse"):
        EpsilonPathDisplay.from_predictions([0.1, 0.2], csr_array(X[:2]), X[:2])


def test_sparse_measurements_of_a_display(fitted, pairs_of_module):
    X, Y = pairs_of_module
    with pytest.raises(TypeError, match="[Ss]parse"):
        ErrorTradeOffDisplay.from_estimator(fitted, X, csr_array(Y))


@pytest.mark.parametrize(("name", "value"), [("limit", -1), ("limit", "2"), ("n_lines", 0)])
def test_grids(name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        DeformedGridDisplay.from_function(lambda X: X, **{name: value})


@pytest.mark.parametrize("n_samples", [None, "a", -1, 2.5, np.nan])
def test_numbers_of_samples(n_samples):
    X = np.eye(3)
    for prior in (EmpiricalPrior(X), KernelDensityPrior(X), GaussianMixturePrior(X, 1.0)):
        with pytest.raises((TypeError, ValueError), match="n_samples"):
            prior.sample(n_samples)


def test_tensors_that_require_gradients(fitted, pairs_of_module):
    """They are taken as what they hold, as are those that the estimators get."""
    X, Y = pairs_of_module
    x, y = (torch.tensor(part, requires_grad=True) for part in (X, Y))
    for kind in (EmpiricalPrior, KernelDensityPrior, lambda X: GaussianMixturePrior(X, 1.0)):
        found, expected = kind(x).sample(3, random_state=0), kind(X).sample(3, random_state=0)
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(KernelDensityPrior(x).score(x), KernelDensityPrior(X).score(X))
    found, expected = estimate_operator(x, y).to_dense(), estimate_operator(X, Y).to_dense()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(as_operator(np.eye(2)).gram(x), X)
    check_jacobian(lambda x: x**2, x)
    reconstructor = Reconstructor(fitted).fit(y, x)
    np.testing.assert_array_equal(reconstructor.posterior_std(y), reconstructor.posterior_std(Y))
    np.testing.assert_array_equal(reconstructor.forward(x), reconstructor.forward(X))
    drawn = UncertaintyDisplay.from_predictions(x, y, torch.ones_like(x))
    np.testing.assert_array_equal(drawn.error, Y - X)
    SignalDisplay(x).plot()


def test_a_grid_deformed_by_derivatives():
    """A function that differentiates by itself may be drawn."""

    def gradient(X):
        x = torch.tensor(X, requires_grad=True)
        return torch.autograd.grad((x**2).sum(), x)[0]

    display = DeformedGridDisplay.from_function(gradient, limit=1.0)
    np.testing.assert_allclose(np.abs(display.lines).max(), 2.0)


def test_flags_and_shapes(fitted, pairs_of_module):
    _, Y = pairs_of_module
    several = torch.zeros(2, 2)
    with pytest.raises(TypeError, match="return_std must be"):
        fitted.predict(Y, return_std=several)
    with pytest.raises(TypeError, match="return_error must be"):
        fitted.posterior_std(Y, return_error=several)
    for shape in (several, (2.5, 1), (0, 2), "ab"):
        with pytest.raises(ValueError, match="image_shape must be positive integers"):
            fitted.adapt(operator=np.eye(2), image_shape=shape)


def test_operators():
    with pytest.raises(TypeError, match="operator must be a nonlinear one"):
        check_jacobian(np.eye(3), np.ones((2, 3)))
    with pytest.raises(ValueError, match="Stack the real and the imaginary parts"):
        as_operator((np.eye(3) + 1j).astype(object))
    with pytest.raises(ValueError, match="sample_weight is zero|at least one non-zero"):
        estimate_operator(np.eye(3), np.eye(3), sample_weight=np.zeros(3))
    with pytest.raises(ValueError, match="[Nn]egative"):
        estimate_operator(np.eye(3), np.eye(3), sample_weight=[1.0, 1.0, -1.0])
    for check in (check_adjoint, lambda A, rtol: check_jacobian(lambda x: x, np.eye(2), rtol=rtol)):
        for rtol in (np.ones((2, 1)), "a", -1.0, np.inf):
            with pytest.raises((TypeError, ValueError), match="rtol"):
                check(np.eye(2), rtol=rtol)
    with pytest.raises(TypeError, match="alpha must be"):
        estimate_operator(np.eye(3), np.eye(3), alpha=torch.zeros(2))
    with pytest.raises(ValueError, match="weight is zero|at least one non-zero"):
        principal_axes(np.eye(3), np.zeros(3))
    equal = [principal_axes(np.eye(3), weight) for weight in (None, [1.0, 1.0, 1.0])]
    np.testing.assert_array_equal(equal[0][0], equal[1][0])
    for X in ([], [1.0, 2.0]):
        with pytest.raises(ValueError):
            principal_axes(X)
