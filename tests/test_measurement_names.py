"""Names of measurements are checked wherever measurements are taken, as those of features are."""

import pickle
import warnings

import numpy as np
import pandas
import polars
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from helpers import every
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, reconstruction_scorer
from skinvbayes.diagnostics import recovered_operator, stationarity
from skinvbayes.priors import GaussianMixturePrior

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

A = np.array([[1.0, 0.2], [0.0, 0.7], [0.5, 0.5]])
NAMES = ["a", "b", "c"]
PRIOR = GaussianMixturePrior([[-1.0, 0.0], [1.0, 0.0]], 0.5)
frames = pytest.mark.parametrize("library", [pandas, polars], ids=lambda module: module.__name__)


@pytest.fixture(scope="module")
def arrays():
    X = PRIOR.sample(200, random_state=0)
    return X, X @ A.T + 0.2 * np.random.RandomState(1).standard_normal((200, 3))


def frame(Y, names=NAMES, library=pandas):
    return library.DataFrame(dict(zip(names, Y.T, strict=True)))


def fitted(arrays, named=True, cls=DivergenceRegularizedINN):
    X, Y = arrays
    estimator = cls(operator=A, max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="On pairs that were held out")
        return estimator.fit(X, frame(Y) if named else Y)


@pytest.fixture(scope="module")
def named(arrays):
    return fitted(arrays)


TAKE_MEASUREMENTS = {
    "predict": lambda estimator, X, Y: estimator.predict(Y, return_std=True),
    "score": lambda estimator, X, Y: estimator.score(X, Y),
    "covariance": lambda estimator, X, Y: estimator.posterior_covariance(Y),
    "std": lambda estimator, X, Y: estimator.posterior_std(Y),
    "interval": lambda estimator, X, Y: estimator.posterior_interval(Y),
    "sample": lambda estimator, X, Y: estimator.sample_posterior(Y),
    "scorer": lambda estimator, X, Y: reconstruction_scorer()(estimator, X, Y),
    "partial_fit": lambda estimator, X, Y: pickle.loads(pickle.dumps(estimator)).partial_fit(X, Y),
    "stationarity": lambda estimator, X, Y: stationarity(estimator, Y, PRIOR),
    "recovered_operator": recovered_operator,
}
methods = pytest.mark.parametrize("call", TAKE_MEASUREMENTS.values(), ids=TAKE_MEASUREMENTS)


def messages_of_names(call, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments)
    return [str(w.message) for w in caught if " names" in str(w.message)]


@frames
@every
def test_names_are_those_of_the_columns(cls, library, arrays):
    X, Y = arrays
    estimator = cls(operator=A, max_iter=2, random_state=0).fit(X, frame(Y, library=library))
    names = estimator.measurement_names_in_
    assert names.dtype == object and list(names) == NAMES
    assert not hasattr(estimator, "feature_names_in_")
    assert len(estimator.get_feature_names_out()) == 2
    assert messages_of_names(estimator.predict, frame(Y, library=library)) == []
    estimator.fit(X, Y)
    assert not hasattr(estimator, "measurement_names_in_")


@methods
def test_the_same_names_pass(call, named, arrays):
    X, Y = arrays
    assert messages_of_names(call, named, X, frame(Y)) == []


@methods
def test_other_names_are_refused(call, named, arrays):
    X, Y = arrays
    with pytest.raises(ValueError, match="Measurement names must be in the same order"):
        call(named, X, frame(Y)[["b", "a", "c"]])
    with pytest.raises(ValueError, match="unseen at fit time:\n- d\n.*yet now missing:\n- c\n"):
        call(named, X, frame(Y, ["a", "b", "d"]))


@methods
def test_names_on_one_side_only_are_told_once(call, named, arrays):
    X, Y = arrays
    assert messages_of_names(call, named, X, Y) == [
        "y does not have valid measurement names, but DivergenceRegularizedINN was fitted with "
        "measurement names"
    ]
    assert messages_of_names(call, fitted(arrays, named=False), X, frame(Y)) == [
        "y has measurement names, but DivergenceRegularizedINN was fitted without measurement names"
    ]


def test_names_of_signals_do_not_disturb_diagnostics(arrays):
    X, Y = arrays
    X = frame(X, ["left", "right"])
    estimator = fitted((X, Y), cls=ReconstructionINN)
    assert messages_of_names(stationarity, estimator, frame(Y), PRIOR) == []
    assert messages_of_names(recovered_operator, estimator, X, frame(Y)) == []


def test_names_of_rows_with_holes(named, arrays):
    holes = arrays[1][:6].copy()
    holes[::2, 1] = np.nan
    assert messages_of_names(named.predict, frame(holes)) == []
    assert len(messages_of_names(named.predict, holes)) == 1


def test_first_pairs_of_partial_fit_name_the_measurements(arrays):
    X, Y = arrays
    estimator = DivergenceRegularizedINN(operator=A, random_state=0).partial_fit(X, frame(Y))
    assert list(estimator.measurement_names_in_) == NAMES
    assert messages_of_names(estimator.partial_fit, X, frame(Y)) == []


def test_columns_without_names(arrays):
    X, Y = arrays
    numbered = pandas.DataFrame(Y)
    estimator = fitted(arrays, named=False).fit(X, numbered)
    assert not hasattr(estimator, "measurement_names_in_")
    assert messages_of_names(estimator.predict, numbered) == []
    with pytest.raises(TypeError, match="Measurement names are only supported"):
        estimator.predict(frame(Y, ["a", "b", 3]))
    series = pandas.Series(Y[:, 0], name="a")
    estimator = DivergenceRegularizedINN(operator=A[:1], max_iter=2).fit(X, series)
    assert not hasattr(estimator, "measurement_names_in_")


def test_cross_validation_hands_names_on(arrays):
    X, Y = arrays
    estimator, options = DivergenceRegularizedINN(operator=A, max_iter=2), {"cv": 2}
    assert messages_of_names(lambda: cross_val_score(estimator, X, frame(Y), **options)) == []
    options["scoring"] = reconstruction_scorer()
    assert messages_of_names(lambda: cross_val_score(estimator, X, frame(Y), **options)) == []


@pytest.mark.parametrize("call", ["fit", "adapt"])
def test_an_operator_with_names_in_another_order_is_refused(call, arrays):
    """It is taken by position; other names than those of the pairs say nothing."""
    X, Y = (frame(part, names) for part, names in zip(arrays, (["u", "v"], NAMES), strict=True))
    right = pandas.DataFrame(A, columns=["u", "v"], index=NAMES)
    estimator = DivergenceRegularizedINN(operator=right, max_iter=3, random_state=0)

    def use(operator):
        fitted = clone(estimator).set_params(operator=right if call == "adapt" else operator)
        fitted.fit(X, Y)
        return fitted.adapt(operator=operator, noise_level=0.2) if call == "adapt" else fitted

    for operator, what in (right[["v", "u"]], "columns"), (right.loc[["b", "a", "c"]], "rows"):
        with pytest.raises(ValueError, match=f"{what} of the operator .* in another order"):
            use(operator)
    for operator in right, right.set_axis(["p", "q"], axis=1), right.reset_index(drop=True):
        use(operator)


def test_names_are_those_of_the_operator(named, arrays):
    Y = arrays[1]
    louder = named.adapt(noise_level=0.3)
    assert list(louder.measurement_names_in_) == NAMES
    assert len(messages_of_names(louder.predict, Y)) == 1
    other = named.adapt(operator=np.eye(2), noise_level=0.3)
    for estimator in (other, other.adapt(noise_level=0.2), pickle.loads(pickle.dumps(other))):
        assert not hasattr(estimator, "measurement_names_in_")
        assert messages_of_names(estimator.predict, frame(Y[:, :2], ["u", "v"])) == []
        assert messages_of_names(estimator.predict, Y[:, :2]) == []
    assert list(named.measurement_names_in_) == NAMES
