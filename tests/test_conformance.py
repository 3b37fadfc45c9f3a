"""scikit-learn's own examination, by ``parametrize_with_checks``."""

from functools import partial

import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from helpers import ALL, PREDICT_TAKES_MEASUREMENTS
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)

RESIDUALS = ["gradient", "mlp"]
# from scikit-learn 1.8 on, a check that is expected to fail and passes is a failure
STRICT = (
    {"xfail_strict": True} if parse_version(sklearn.__version__) >= parse_version("1.8") else {}
)


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
    **STRICT,
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
