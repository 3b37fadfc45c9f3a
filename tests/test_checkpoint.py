"""Checkpoints: what is saved while an estimator trains, and going on from there."""

import errno
import os
import pickle
import stat
import sys
import warnings

import numpy as np
import pytest
import skops.io as sio
from joblib import parallel_config
from scipy.sparse.linalg import LinearOperator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import every
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
    callbacks,
    reconstruction_scorer,
)
from skinvbayes.callbacks import Checkpoint
from skinvbayes.training.stages import Trained

try:
    from sklearn.callback import ProgressBar, ScoringMonitor  # noqa: F401
except ImportError:
    pytest.skip("scikit-learn has no callbacks", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling")
solvers = pytest.mark.parametrize("solver", ["lbfgs", "adam"])
OPTIONS = {"max_iter": 9, "random_state": 0}


class After:
    """Calls a function after every iteration, with the number of iterations so far."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "iteration":
            return False
        self.count += 1
        return self.function(self.count)


class Nested(After):
    """The same, handed on to sub-estimators."""

    max_propagation_depth = None


class Crash(Exception):
    """What ends a process without asking."""


def crash_after(n, kind=After):
    def crash(count):
        if count == n:
            raise Crash

    return kind(crash)


def crashed(estimator, path, pairs, n):
    """What a training leaves that crashes after n iterations, each of which is saved."""
    with pytest.raises(Crash):
        estimator.set_callbacks(Checkpoint(path, every=0), crash_after(n)).fit(*pairs)
    return load(path)


def load(path):
    if path.suffix == ".skops":
        return sio.load(path, trusted=sio.get_untrusted_types(file=path))
    return pickle.loads(path.read_bytes())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pkl"


# -------------------------------------------------------------------------------- what is saved


@solvers
@every
def test_warm_start_goes_on_after_a_crash(cls, solver, pairs, path):
    X, Y = pairs
    options = OPTIONS | {"solver": solver, "hidden_layer_sizes": 8, "n_pieces": 2}
    undisturbed = cls(**options).fit(X, Y)
    saved = crashed(cls(**options), path, pairs, 6)
    if cls is not LogDetRegularizedINN:  # whose first stage has the divergence's loss
        assert saved.loss_curve_ == undisturbed.loss_curve_[:6]
        assert saved.best_loss_ == min(saved.loss_curve_)
    assert len(saved.loss_curve_) == saved.n_iter_ == 6
    assert saved.score(X, Y) > 0.2
    saved.set_params(warm_start=True).fit(X, Y)
    last = undisturbed.loss_curve_[-1]
    assert saved.loss_curve_[-1] < last + 0.05 * abs(last)


def test_a_first_stage_is_saved(pairs, path, one_trial):
    X, Y = pairs
    options = {"max_iter": 20, "solver": "lbfgs", "prior_bandwidth": 0.0, "random_state": 0}
    saved = crashed(LogDetRegularizedINN(**options), path, pairs, 3)
    first = crashed(DivergenceRegularizedINN(**options), path, pairs, 3)
    np.testing.assert_allclose(saved.predict(Y), first.predict(Y))
    undisturbed = LogDetRegularizedINN(**options).fit(X, Y)
    saved.set_params(warm_start=True).fit(X, Y)
    assert saved.loss_curve_[-1] < undisturbed.loss_curve_[-1] + 0.02


@solvers
@pytest.mark.parametrize("early_stopping", [False, True])
def test_what_is_saved_is_what_stopping_gives(early_stopping, solver, pairs, path):
    """With early stopping the best weights so far: here not the last ones."""
    options = OPTIONS | {"solver": solver, "early_stopping": early_stopping}
    options |= {"learning_rate_init": 0.3, "n_iter_no_change": 9, "validation_fraction": 0.5}
    saved = crashed(ApproximationINN(**options), path, pairs, 6)
    stopped = ApproximationINN(**options).set_callbacks(After(lambda n: n == 6)).fit(*pairs)
    np.testing.assert_array_equal(saved.predict(pairs[1]), stopped.predict(pairs[1]))
    for name in ("loss_curve_", "validation_loss_curve_", "best_loss_", "n_iter_"):
        assert getattr(saved, name) == getattr(stopped, name)
    if early_stopping and solver == "adam":
        assert saved.best_loss_ < saved.validation_loss_curve_[-1]


def test_what_was_known_beforehand_stays_known(rng, path):
    """Where G is a part of the network, only the rest is trained."""
    X = rng.standard_normal((20, 36))
    options = {"operator": np.eye(36), "residual": "conv", "image_shape": (6, 6)}
    options |= {"kernel_size": 3, "noise_level": 0.1, "early_stopping": True} | OPTIONS
    saved = crashed(DivergenceRegularizedINN(**options), path, (X, X), 4)
    stopped = DivergenceRegularizedINN(**options).set_callbacks(After(lambda n: n == 4)).fit(X, X)
    assert saved.network_.knows_forward
    np.testing.assert_array_equal(saved.predict(X), stopped.predict(X))


def test_an_adapted_estimator_that_is_fitted_again(pairs, path):
    """What it was adapted from does not get into the file."""
    X, Y = pairs
    options = {"operator": np.eye(2), "noise_level": 0.3} | OPTIONS
    adapted = DivergenceRegularizedINN(**options).fit(X, Y).adapt(operator=[[1.0, 0.5]])
    new = DivergenceRegularizedINN(**adapted.get_params())
    measured = X, X @ [[1.0], [0.5]]
    one, other = (crashed(estimator, path, measured, 3) for estimator in (adapted, new))
    np.testing.assert_array_equal(one.predict(measured[1]), other.predict(measured[1]))


@pytest.mark.parametrize("suffix", [".skops", ".joblib", ""])
def test_the_end_is_saved(suffix, pairs, tmp_path):
    path = tmp_path / f"model{suffix}"
    estimator = ApproximationINN(**OPTIONS).set_callbacks(Checkpoint(path), ProgressBar())
    estimator.fit(*pairs)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.predict(pairs[1]), estimator.predict(pairs[1]))
    assert loaded.get_params() == estimator.get_params()
    assert not any("callback" in name for name in vars(loaded))
    assert os.listdir(tmp_path) == [path.name]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    if suffix == ".skops":
        assert all(n.startswith("skinvbayes.") for n in sio.get_untrusted_types(file=path))


def test_an_interrupted_training_is_saved(pairs, path):
    def interrupt(count):
        if count == 3:
            raise KeyboardInterrupt

    estimator = DivergenceRegularizedINN(**OPTIONS).set_callbacks(
        Checkpoint(path), After(interrupt)
    )
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        estimator.fit(*pairs)
    loaded = load(path)
    assert loaded.n_iter_ == 3
    np.testing.assert_array_equal(loaded.predict(pairs[1]), estimator.predict(pairs[1]))


def test_checkpoints_of_other_estimators(pairs, path):
    """Whatever has warm_start and follows scikit-learn's convention."""
    X, Y = pairs
    classifier = LogisticRegression().set_callbacks(Checkpoint(path, every=0))
    classifier.fit(X, Y[:, 0] > 0)
    np.testing.assert_array_equal(load(path).coef_, classifier.coef_)


# ------------------------------------------------------------------------------------------ when


def test_every_few_seconds(pairs, path, monkeypatch):
    now, seen = [0.0], []
    monkeypatch.setattr(callbacks, "monotonic", lambda: now[0])

    def pass_time(count):
        seen.append(load(path).n_iter_ if path.exists() else 0)
        now[0] += 100

    estimator = ApproximationINN(solver="adam", **OPTIONS)
    estimator.set_callbacks(Checkpoint(path, every=250), After(pass_time)).fit(*pairs)
    assert seen == [0, 0, 0, 4, 4, 4, 7, 7, 7]
    assert load(path).n_iter_ == 9
    seen.clear()
    estimator.fit(*pairs)  # with a clock of its own
    assert seen == [9, 9, 9, 4, 4, 4, 7, 7, 7]


def test_nothing_is_copied_when_nothing_is_due(pairs, path, monkeypatch):
    copies = []
    make_copy = Trained.in_double_precision

    def counted(trained):
        copies.append(trained)
        return make_copy(trained)

    monkeypatch.setattr(Trained, "in_double_precision", counted)
    estimator = ApproximationINN(solver="adam", **OPTIONS)
    estimator.set_callbacks(ProgressBar(), Checkpoint(path)).fit(*pairs)
    assert not copies
    estimator.set_callbacks(ProgressBar(), Checkpoint(path, every=0)).fit(*pairs)
    assert len(copies) == 9


def test_scoring_goes_on_where_no_checkpoint_is_due(pairs, path):
    monitor = ScoringMonitor(scoring={"r2": reconstruction_scorer("r2")})
    estimator = ApproximationINN(solver="adam", **OPTIONS)
    estimator.set_callbacks(Checkpoint(path), monitor).fit(*pairs)
    assert len(monitor.get_logs().data) == 9 + 1
    assert load(path).n_iter_ == 9


# --------------------------------------------------------------------------- never half a file


def break_next_save(error, monkeypatch):
    """Let one save fail after it has written something."""

    def broken(estimator, stream):
        monkeypatch.undo()
        stream.write(b"half a file")
        raise error

    monkeypatch.setattr(callbacks, "_format_of", lambda file: (broken, None))


def test_a_full_disk_leaves_the_last_file_and_does_not_end_training(pairs, path, monkeypatch):
    seen = []

    def fill_disk(count):
        seen.append(load(path).n_iter_)
        assert os.listdir(path.parent) == [path.name]
        if count == 2:
            break_next_save(OSError(errno.ENOSPC, "No space left on device"), monkeypatch)

    estimator = ApproximationINN(solver="adam", **OPTIONS)
    estimator.set_callbacks(Checkpoint(path, every=0), After(fill_disk))
    with pytest.warns(UserWarning, match="No space left on device. The last one stays") as caught:
        estimator.fit(*pairs)
    assert caught[0].filename == __file__
    assert seen == [1, 2, 2, 4, 5, 6, 7, 8, 9]


def test_an_interrupted_save_leaves_a_whole_file(pairs, path, monkeypatch):
    def interrupt(count):
        if count == 2:
            break_next_save(KeyboardInterrupt(), monkeypatch)

    estimator = ApproximationINN(solver="adam", **OPTIONS)
    estimator.set_callbacks(Checkpoint(path, every=0), After(interrupt))
    with pytest.warns(ConvergenceWarning, match="interrupted after iteration 3"):
        estimator.fit(*pairs)
    assert os.listdir(path.parent) == [path.name]
    assert load(path).n_iter_ == 3


# ------------------------------------------------------------------------- refused at the start


def refused(estimator, checkpoint, X, Y, error, match):
    """The fit must raise before its first iteration."""
    counter = After(lambda count: False)
    with pytest.raises(error, match=match):
        estimator.set_callbacks(checkpoint, counter).fit(X, Y)
    assert counter.count == 0


def test_files_that_cannot_be_written(pairs, tmp_path, monkeypatch):
    estimator = ApproximationINN(**OPTIONS)
    nowhere = Checkpoint(tmp_path / "missing" / "model.pkl")
    refused(estimator, nowhere, *pairs, FileNotFoundError, "in a folder that exists.*missing")
    refused(estimator, Checkpoint(tmp_path), *pairs, IsADirectoryError, "Give the path of a file")
    search = GridSearchCV(estimator, {"lipschitz": [0.9, 0.99]}, cv=2)
    refused(search, nowhere, *pairs, FileNotFoundError, "in a folder that exists")
    if os.geteuid():  # the superuser may write anywhere
        tmp_path.chmod(0o500)
        forbidden = Checkpoint(tmp_path / "model.pkl")
        refused(estimator, forbidden, *pairs, PermissionError, "may write to")
        tmp_path.chmod(0o700)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".pkl", ".skops"])
def test_parameters_that_cannot_be_stored(suffix, pairs, tmp_path):
    file = tmp_path / f"model{suffix}"
    file.write_bytes(b"an older file")
    A = LinearOperator((2, 2), matvec=lambda x: x, rmatvec=lambda x: x, dtype=float)
    estimator = ApproximationINN(operator=A, **OPTIONS)
    refused(estimator, Checkpoint(file), *pairs, TypeError, "cannot store this ApproximationINN")
    assert os.listdir(tmp_path) == [file.name]
    assert file.read_bytes() == b"an older file"


@pytest.mark.parametrize("wrong", [-1, np.nan, "often", None])
def test_wrong_intervals(wrong, path):
    with pytest.raises(ValueError, match="every must be a number of seconds, 0 or more; got"):
        Checkpoint(path, every=wrong)


def test_older_scikit_learn(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    with pytest.raises(ImportError, match="scikit-learn 1.9 or later"):
        Checkpoint(path)


def test_without_skops(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ImportError, match="another suffix for pickle"):
        Checkpoint(path.with_suffix(".skops"))
    Checkpoint(path)


# -------------------------------------------------------------------- estimators in estimators


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_the_estimator_of_a_reconstructor(cls, pairs, path):
    X, Y = pairs
    regressor = Reconstructor(cls(**OPTIONS))
    with pytest.raises(Crash):
        regressor.set_callbacks(Checkpoint(path, every=0), crash_after(4, Nested)).fit(Y, X)
    saved = load(path)
    assert isinstance(saved, cls) and saved.n_iter_ == 4
    regressor.set_callbacks(Checkpoint(path)).fit(Y, X)
    np.testing.assert_array_equal(load(path).predict(Y), regressor.predict(Y))
    assert load(path).set_params(warm_start=True).fit(X, Y).score(X, Y) > 0.2


def test_the_last_step_of_a_pipeline(pairs, path):
    X, Y = pairs
    model = make_pipeline(StandardScaler(), ApproximationINN(**OPTIONS))
    model.set_callbacks(Checkpoint(path)).fit(X, Y)
    scaled = model[0].transform(X)
    np.testing.assert_array_equal(load(path).transform(scaled), model[-1].transform(scaled))


@pytest.mark.parametrize(
    "workers",
    [{"n_jobs": 1}, {"n_jobs": 2, "backend": "loky"}, {"n_jobs": 2, "backend": "threading"}],
)
def test_every_fit_of_a_search_has_its_file(workers, pairs, path):
    X, Y = pairs
    model = Reconstructor(ApproximationINN(max_iter=2, random_state=0))
    search = GridSearchCV(model, {"estimator__lipschitz": [0.5, 0.9, 0.99]}, cv=2)
    search.set_callbacks(Checkpoint(path, every=0))
    with parallel_config(**workers), warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning)
        search.fit(Y, X)
    files = {path.name} | {f"model-{k}.pkl" for k in range(6)}
    assert set(os.listdir(path.parent)) == files
    found = [load(path.with_name(f"model-{k}.pkl")).lipschitz for k in range(6)]
    assert found == [0.5, 0.5, 0.9, 0.9, 0.99, 0.99]
    best = search.best_estimator_
    np.testing.assert_array_equal(load(path).predict(Y), best.predict(Y))


def test_pickled_while_another_fit_begins(path):
    """The clocks are of fits under way, and no part of the callback."""
    checkpoint = Checkpoint(path, every=7)
    checkpoint._last_saved = None  # whatever it is, pickle must not walk it
    loaded = pickle.loads(pickle.dumps(checkpoint))
    assert (loaded.path, loaded.every, loaded._last_saved) == (path, 7, {})
