"""scikit-learn's own examination, by ``parametrize_with_checks``."""

from functools import partial

from sklearn.utils.estimator_checks import parametrize_with_checks

from helpers import ALL
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)

RESIDUALS = ["gradient", "mlp"]

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
    "check_dict_unchanged": "calls predict(X) and looks for new attributes",
    "check_fit_idempotent": "compares the predict(X) of two fits",
}


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
    xfail_strict=True,
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
