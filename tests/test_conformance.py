"""scikit-learn's own examination, by ``parametrize_with_checks``."""

from functools import partial

from sklearn.utils.estimator_checks import parametrize_with_checks

from helpers import ALL, PREDICT_TAKES_MEASUREMENTS, STRICT_CHECKS
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)

RESIDUALS = ["gradient", "mlp"]


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
    [cls(residual=residual, max_iter=3) for cls in ALL for residual in RESIDUALS],
    expected_failed_checks=lambda estimator: PREDICT_TAKES_MEASUREMENTS,
    **STRICT_CHECKS,
)
def test_estimators(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        cls(residual=residual, max_iter=3)
        for cls in WithoutPredict.__subclasses__()
        for residual in RESIDUALS
    ]
)
def test_predict_is_the_only_cause(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        Reconstructor(),
        *(Reconstructor(cls(max_iter=3, residual=kind)) for cls in ALL for kind in RESIDUALS),
    ]
)
def test_reconstructor(estimator, check, monkeypatch):
    hasty = partial(DivergenceRegularizedINN, max_iter=3)
    monkeypatch.setattr("skinvbayes.estimators.reconstructor.DivergenceRegularizedINN", hasty)
    check(estimator)
