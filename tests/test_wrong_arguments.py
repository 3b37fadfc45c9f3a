"""What is no prior, estimator or axes is refused by name."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor, diagnostics
from skinvbayes.operators import as_operator, check_jacobian, estimate_operator
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.plotting import (
    DeformedGridDisplay,
    ErrorTradeOffDisplay,
    ImagesDisplay,
    LossCurveDisplay,
    SignalDisplay,
    UncertaintyDisplay,
    VectorFieldDisplay,
)
from skinvbayes.priors import EmpiricalPrior, principal_axes

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
    with pytest.raises(TypeError, match="ax must be"):
        display.from_estimator(fitted, *arguments, ax="axes")


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


def test_operators():
    with pytest.raises(TypeError, match="operator must be a nonlinear one"):
        check_jacobian(np.eye(3), np.ones((2, 3)))
    with pytest.raises(ValueError, match="Stack the real and the imaginary parts"):
        as_operator((np.eye(3) + 1j).astype(object))
    with pytest.raises(ValueError, match="sample_weight is zero|at least one non-zero"):
        estimate_operator(np.eye(3), np.eye(3), sample_weight=np.zeros(3))
    with pytest.raises(ValueError, match="[Nn]egative"):
        estimate_operator(np.eye(3), np.eye(3), sample_weight=[1.0, 1.0, -1.0])
    for X in ([], [1.0, 2.0]):
        with pytest.raises(ValueError):
            principal_axes(X)
