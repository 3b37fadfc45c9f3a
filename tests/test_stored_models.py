"""Stored models survive: files of older versions load, or say what to do."""

import copy
import io
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io as sio
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinvbayes
from programs import in_a_process, printed_by
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.estimators import persistence
from skinvbayes.operators import NonlinearOperator
from skinvbayes.plotting import LossCurveDisplay

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling")

FILES = Path(__file__).parent / "data"
READABLE = sorted(FILES.glob("format-*/*.pkl"))
FIRST_TWO = [path for path in READABLE if path.parent.name in ("format-1", "format-2")]
OF_0_1 = sorted((FILES / "0.1").iterdir())
A = np.array([[1.0, 0.2], [0.0, 0.7], [0.5, 0.5]])
OPTIONS = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}


def load(path):
    if path.suffix == ".pkl":
        return pickle.loads(path.read_bytes())
    return sio.load(path, trusted=sio.get_untrusted_types(file=path))


reads_numpy_2 = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "1.26.0", reason="NumPy 2 wrote the arrays of the files"
)


# ------------------------------------------------------------------------- files of other versions


def test_there_are_files_of_every_format():
    kept = {int(path.parent.name.removeprefix("format-")) for path in READABLE}
    assert kept == set(range(1, persistence.FORMAT + 1))


@reads_numpy_2
@pytest.mark.parametrize("path", READABLE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_older_formats_load_and_predict_as_they_did(path):
    model, predicted = load(path), np.load(path.with_name("predicted.npz"))
    found = model.predict(predicted[f"{path.stem} Y"], return_std=True)
    np.testing.assert_allclose(found[0], predicted[f"{path.stem} signals"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[1], predicted[f"{path.stem} std"], rtol=1e-6, atol=1e-9)


@reads_numpy_2
@pytest.mark.parametrize("path", READABLE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_was_upgraded_is_stored_in_the_present_format(path, monkeypatch):
    model = load(path)
    monkeypatch.setattr(persistence, "_UPGRADES", {})
    again = pickle.loads(pickle.dumps(model))
    Y = np.load(path.with_name("predicted.npz"))[f"{path.stem} Y"]
    np.testing.assert_allclose(model.predict(Y), again.predict(Y), rtol=1e-10)


@reads_numpy_2
@pytest.mark.parametrize("path", FIRST_TWO, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_stages_of_the_training_that_the_file_does_not_know(path):
    model = load(path)
    estimator = getattr(model, "estimator_", model)
    estimator = estimator[-1] if hasattr(estimator, "steps") else estimator
    assert estimator.training_stages_ == [(None, estimator.n_iter_)]
    assert LossCurveDisplay.from_estimator(estimator).training_stages == estimator.training_stages_


@reads_numpy_2
@pytest.mark.parametrize("path", OF_0_1, ids=lambda path: path.name)
def test_models_of_0_1_say_what_to_do(path):
    with pytest.raises(ValueError, match=r"0\.1.* cannot read.*Fit again, or install version 0\.1"):
        load(path)


@pytest.fixture(scope="module")
def fitted():
    X = np.random.RandomState(0).standard_normal((60, 2))
    Y = X @ A.T + 0.2 * np.random.RandomState(1).standard_normal((60, 3))
    return DivergenceRegularizedINN(operator=A, **OPTIONS).fit(X, Y), X, Y


def with_state(estimator, **changes):
    """Load the estimator's state after some changes of it."""
    loaded = type(estimator).__new__(type(estimator))
    loaded.__setstate__(estimator.__getstate__() | changes)
    return loaded


@pytest.mark.parametrize("version", ["99.1.0", "1.0.dev3"])
@pytest.mark.parametrize("make", [lambda e: e, Reconstructor], ids=["estimator", "regressor"])
def test_files_of_newer_versions_say_so(version, make, fitted):
    minor = ".".join(version.split(".")[:2])
    message = f"newer than this one, {skinvbayes.__version__}. Install version {minor} or a later"
    with pytest.raises(ValueError, match=message):
        with_state(make(fitted[0]), _skinvbayes_version=version)


def test_other_patches_load(fitted):
    major, minor, *_ = skinvbayes.__version__.split(".")
    assert with_state(fitted[0], _skinvbayes_version=f"{major}.{minor}.77").epsilon_


def test_parameters_younger_than_the_file_have_their_defaults(fitted):
    estimator, _, Y = fitted
    state = estimator.__getstate__()
    del state["verbose"], state["n_iter_no_change"]
    loaded = DivergenceRegularizedINN.__new__(DivergenceRegularizedINN)
    loaded.__setstate__(state)
    assert (loaded.verbose, loaded.n_iter_no_change) == (False, 10)
    assert loaded.get_params().keys() == estimator.get_params().keys()
    np.testing.assert_allclose(loaded.predict(Y), estimator.predict(Y), rtol=1e-10)


def test_quantiles_of_the_second_format_are_those_of_all_errors(fitted):
    """They did not depend on the standard deviation."""
    estimator, _, Y = fitted
    problem = estimator.__getstate__()["problem_"] | {"error_quantiles": np.linspace(0, 3, 201)}
    other = with_state(estimator, problem_=problem, _skinvbayes_format=2)
    assert problem["error_quantiles"].shape == (201,)
    lower, upper = other.posterior_interval(Y, coverage=0.5)
    np.testing.assert_allclose((upper - lower) / 2, 1.5 * estimator.posterior_std(Y))


@pytest.mark.parametrize("stored_format", [0, persistence.FORMAT + 1, "x", None])
def test_unknown_formats_say_so(stored_format, fitted):
    with pytest.raises(ValueError, match=f"has the format {stored_format!r}, and this version"):
        with_state(fitted[0], _skinvbayes_format=stored_format)


@pytest.mark.parametrize("state", [None, [1, 2], {"coef_": 1.0}], ids=str)
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_foreign_states_say_so(cls, state):
    with pytest.raises(ValueError, match=f"state of {cls.__name__}"):
        cls.__new__(cls).__setstate__(state)


@pytest.mark.parametrize("part", ["coordinates", "measurement", "signal_std", "kind"])
def test_parts_that_are_missing_are_named(part, fitted):
    problem = fitted[0].__getstate__()["problem_"]
    problem = {name: value for name, value in problem.items() if name != part}
    with pytest.raises(ValueError, match=f"incomplete or damaged .*{part}"):
        with_state(fitted[0], problem_=problem)


@pytest.mark.parametrize("name", ["network_", "_continuation", "problem_"])
def test_arrays_in_place_of_dicts_are_damage(name, fitted):
    with pytest.raises(ValueError, match="incomplete or damaged"):
        with_state(fitted[0], **{name: np.zeros(3)})


def test_files_name_no_private_class(fitted):
    """So that modules may be moved, and classes changed."""
    adapted = fitted[0].adapt(operator=np.eye(2))
    stored = pickle.dumps([fitted[0], adapted, Reconstructor(fitted[0])])

    class Names(pickle.Unpickler):
        found = set()

        def find_class(self, module, name):
            self.found.add(name)
            return super().find_class(module, name)

    Names(io.BytesIO(stored)).load()
    ours = {name for name in Names.found if hasattr(skinvbayes, name)}
    assert ours == {"DivergenceRegularizedINN", "Reconstructor"}
    assert Names.found - ours <= {"Operator", "ndarray", "dtype", "scalar", "_reconstruct"}


PROGRAM = """
import importlib.metadata, pickle
def missing(name, original=importlib.metadata.version):
    if name == "skinvbayes":
        raise importlib.metadata.PackageNotFoundError(name)
    return original(name)
importlib.metadata.version = missing
import skinvbayes
print(pickle.dumps(pickle.loads(stored)).hex())
"""


@pytest.mark.usefixtures("warm_processes")
def test_pickling_does_without_an_installation(fitted):
    printed = in_a_process(printed_by, PROGRAM, {"stored": pickle.dumps(fitted[0])})
    loaded = pickle.loads(bytes.fromhex(printed))
    np.testing.assert_allclose(loaded.predict(fitted[2]), fitted[0].predict(fitted[2]), rtol=1e-10)


# ------------------------------------------------------------------------------------ round trips


def by_pickle(model, path):
    return pickle.loads(pickle.dumps(model))


def by_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


def by_skops(model, path):
    sio.dump(model, path)
    return sio.load(path, trusted=sio.get_untrusted_types(file=path))


def by_copy(model, path):
    return copy.deepcopy(model)


class Square:
    """A nonlinear operator, as users write them."""

    def forward(self, X):
        return X + 0.1 * X**2

    def jacobian(self, X):
        return np.eye(X.shape[1]) * (1 + 0.2 * X[:, None])


@pytest.fixture(scope="module")
def frames():
    pandas = pytest.importorskip("pandas")
    X = np.random.RandomState(0).standard_normal((60, 2))
    Y = X @ A.T + 0.2 * np.random.RandomState(1).standard_normal((60, 3))
    return pandas.DataFrame(X, columns=["u", "v"]), pandas.DataFrame(Y, columns=list("abc"))


@pytest.fixture(scope="module")
def models(fitted, frames):
    """Models by names, with measurements of theirs."""
    estimator, X, Y = fitted
    rng = np.random.RandomState(2)
    missing = np.where(rng.uniform(size=Y.shape) < 0.2, np.nan, Y)
    missing[np.isnan(missing).all(axis=1)] = 0.0
    covariance = 0.05 * (np.eye(3) + 0.4)
    search = GridSearchCV(
        make_pipeline(PCA(whiten=True), DivergenceRegularizedINN(**OPTIONS)),
        {"divergenceregularizedinn__epsilon": [0.05, 0.1]},
        cv=2,
    )
    reconstructor = Reconstructor(make_pipeline(StandardScaler(), estimator)).fit(Y, X)
    sparse = DivergenceRegularizedINN(operator=csr_array(A), **OPTIONS).fit(X, Y)
    return {
        "adapted": (estimator.adapt(operator=A[:2], noise_level=[0.1, 0.3]), Y[:, :2]),
        "adapted twice": (estimator.adapt(operator=np.eye(2)).adapt(noise_level=0.3), Y[:, :2]),
        "nonlinear": (estimator.adapt(operator=NonlinearOperator(*_square())), Y[:, :2]),
        "nonlinear by a class": (estimator.adapt(operator=Square()), Y[:, :2]),
        "names": (DivergenceRegularizedINN(operator=A, **OPTIONS).fit(*frames), frames[1]),
        "unequal noise": (
            ReconstructionINN(operator=A, noise_level=[0.1, 0.2, 0.3], **OPTIONS).fit(X, Y),
            Y,
        ),
        "correlated noise": (
            ReconstructionINN(operator=A, noise_covariance=covariance, **OPTIONS).fit(X, Y),
            Y,
        ),
        "sparse operator, missing measurements": (sparse, missing),
        "no operator": (DivergenceRegularizedINN(**OPTIONS).fit(X, X + 0.1 * Y[:, :2]), Y[:, :2]),
        "reconstructor": (reconstructor, Y),
        "adapted reconstructor": (reconstructor.adapt(operator=A[:2], noise_level=0.2), Y[:, :2]),
        "search": (Reconstructor(search).fit(Y, X), Y),
    }


def _square():
    return Square().forward, Square().jacobian


NAMES = [
    *("adapted", "adapted twice", "nonlinear", "nonlinear by a class", "names", "unequal noise"),
    *("correlated noise", "sparse operator, missing measurements", "no operator"),
    *("reconstructor", "adapted reconstructor", "search"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("route", [by_pickle, by_joblib, by_skops, by_copy])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_comes_back(name, route, models, tmp_path):
    model, Y = models[name]
    loaded = route(model, tmp_path / "model")
    before, after = (one.predict(Y, return_std=True) for one in (model, loaded))
    np.testing.assert_allclose(before, after, rtol=1e-8)
    for attribute in ("measurement_names_in_", "feature_names_in_", "noise_covariance_"):
        assert hasattr(loaded, attribute) == hasattr(model, attribute)
        values = [getattr(one, attribute, None) for one in (model, loaded)]
        np.testing.assert_array_equal(*values)
    if name == "names":
        with pytest.raises(ValueError, match="measurement names should match"):
            loaded.predict(Y[list("cab")])
    if name == "adapted":
        with pytest.raises(ValueError, match="adapted to other measurements"):
            loaded.partial_fit(Y, Y)
