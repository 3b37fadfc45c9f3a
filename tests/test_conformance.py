"""scikit-learn's own examination, by ``parametrize_with_checks``."""

from functools import partial

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from helpers import ALL, PREDICT_TAKES_MEASUREMENTS, STRICT_CHECKS, examine, name_of
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)
from skinvbayes.training import guard


@pytest.fixture(autouse=True)
def few_shares(monkeypatch):
    """The network or the linear estimator, and nothing between, of which no check knows."""
    monkeypatch.setattr(guard, "_SHARES", (0.0, 1.0))


class WithoutPredict:
    """The same estimator, but there is no ``predict``."""

    @property
    def predict(self):
        raise AttributeError("predict")


class ApproximationWithoutPredict(WithoutPredict, ApproximationINN):
    pass


class ReconstructionWithoutPredict(WithoutPredict, ReconstructionINN):
    pass


class LogDetWithoutPredict(WithoutPredict, LogDetRegularizedINN):
    pass


class DivergenceWithoutPredict(WithoutPredict, DivergenceRegularizedINN):
    pass


@parametrize_with_checks(
    [cls(max_iter=3, residual=residual) for cls in ALL for residual in ("gradient", "mlp")],
    expected_failed_checks=lambda estimator: PREDICT_TAKES_MEASUREMENTS,
    **STRICT_CHECKS,
)
def test_estimators(estimator, check):
    examine(estimator, check)


def checks_of_predict():
    for cls in WithoutPredict.__subclasses__():
        for estimator, check in estimator_checks_generator(cls(max_iter=3)):
            if name_of(check) in PREDICT_TAKES_MEASUREMENTS:
                yield pytest.param(estimator, check, id=f"{cls.__name__}-{name_of(check)}")


@pytest.mark.parametrize(("estimator", "check"), [*checks_of_predict()])
def test_predict_is_the_only_cause(estimator, check):
    """Without it the estimators pass the checks that they are expected to fail."""
    check(estimator)


@parametrize_with_checks(
    [Reconstructor(), Reconstructor(ReconstructionINN(max_iter=3, residual="mlp"))]
)
def test_reconstructor(estimator, check, monkeypatch):
    hasty = partial(DivergenceRegularizedINN, max_iter=3)
    monkeypatch.setattr("skinvbayes.estimators.reconstructor.DivergenceRegularizedINN", hasty)
    check(estimator)
