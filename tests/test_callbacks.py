"""scikit-learn's callbacks, and interrupts."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from helpers import every, interrupt_at, needs_callbacks
from skinvbayes import (
    DivergenceRegularizedINN,
    ReconstructionINN,
    Reconstructor,
    reconstruction_scorer,
)
from skinvbayes.numerics import sklearn_compat
from skinvbayes.training import progress

SOLVERS = ["lbfgs", "adam"]

try:
    from sklearn.callback import ProgressBar, ScoringMonitor
except ImportError:
    ProgressBar = ScoringMonitor = None

# ------------------------------------------------------------------------------ scikit-learn's


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_bar_through_a_search(n_jobs, pairs, capsys):
    one_fit = [(np.arange(200), np.arange(200, 300))]  # and so one worker, which imports torch
    search = GridSearchCV(
        DivergenceRegularizedINN(max_iter=3, random_state=0),
        {"epsilon": [0.05]},
        cv=one_fit,
        n_jobs=n_jobs,
    )
    search.set_callbacks(ProgressBar())
    search.fit(*pairs)
    printed = capsys.readouterr().out
    for part in ("GridSearchCV - fit", "GridSearchCV - search", "DivergenceRegularizedINN - f"):
        assert part in printed


@needs_callbacks
@pytest.mark.parametrize("solver", SOLVERS)
@every
def test_scoring_monitor_records_every_iteration(cls, solver, pairs):
    monitor = ScoringMonitor(scoring={"r2": reconstruction_scorer("r2")})
    estimator = cls(solver=solver, max_iter=6, random_state=0).set_callbacks(monitor)
    estimator.fit(*pairs)
    rows = monitor.get_logs().data
    scores = [row["r2"] for row in rows if row["task_name"] == "iteration"]
    (last,) = (row["r2"] for row in rows if row["task_name"] == "fit")
    assert len(scores) == 6  # with those on the cheaper loss
    assert last == reconstruction_scorer("r2")(estimator, *pairs)
    assert last >= scores[-1] - 1e-6  # the pairs may have the last word, and improve it
    plain = cls(solver=solver, max_iter=6, random_state=0).fit(*pairs)
    assert np.array_equal(plain.predict(pairs[1]), estimator.predict(pairs[1]))


@needs_callbacks
def test_scoring_monitor_sees_weights(pairs):
    weight = np.linspace(0, 1, len(pairs[0]))
    monitor = ScoringMonitor(scoring={"r2": reconstruction_scorer("r2")})
    estimator = ReconstructionINN(max_iter=2, random_state=0).set_callbacks(monitor)
    estimator.fit(*pairs, sample_weight=weight)
    last = reconstruction_scorer("r2")(estimator, *pairs, sample_weight=weight)
    assert monitor.get_logs().data[0]["r2"] == last


@needs_callbacks
def test_callbacks_reach_the_estimator_of_a_reconstructor(pairs, capsys):
    X, Y = pairs
    regressor = Reconstructor(DivergenceRegularizedINN(max_iter=3, random_state=0))
    regressor.set_callbacks(ProgressBar())
    regressor.fit(Y, X)
    printed = capsys.readouterr().out
    assert "Reconstructor" in printed
    assert "DivergenceRegularizedINN" in printed


@needs_callbacks
@pytest.mark.parametrize("solver", SOLVERS)
@every
def test_callback_may_stop_training(cls, solver, pairs):
    class StopAtThird:
        count = 0

        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context):
            self.count += context.task_name == "iteration"
            return self.count == 3

    estimator = cls(solver=solver, max_iter=30, random_state=0).set_callbacks(StopAtThird())
    estimator.fit(*pairs)
    assert estimator.n_iter_ in (0, 3)  # 0: of the loss that it had not come to
    assert np.isfinite(estimator.predict(pairs[1])).all()


@needs_callbacks
def test_estimators_with_callbacks_are_stored(pairs):
    estimator = DivergenceRegularizedINN(max_iter=2, random_state=0).set_callbacks(ProgressBar())
    estimator.fit(*pairs)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(loaded.predict(pairs[1]), estimator.predict(pairs[1]))


def test_without_scikit_learns_callbacks(pairs, monkeypatch):
    """Before scikit-learn 1.9 the mixin is empty."""
    monkeypatch.delattr(
        sklearn_compat.CallbackSupportMixin, "_init_callback_context", raising=False
    )
    task = progress.FitTask(DivergenceRegularizedINN(), 3, X=pairs[0], y=pairs[1])
    assert task.iterate(dict) is False
    task.end()
    with task.propagate(None):
        pass


# --------------------------------------------------------------------------------------- silence


def test_silent_by_default(pairs, capsys):
    DivergenceRegularizedINN(max_iter=2).fit(*pairs)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


# ------------------------------------------------------------------------------------- interrupts


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("solver", SOLVERS)
@every
def test_interrupt_leaves_what_was_learned(cls, solver, n, pairs, monkeypatch):
    interrupt_at(n, monkeypatch)
    estimator = cls(solver=solver, max_iter=50, random_state=0)
    with pytest.warns(ConvergenceWarning, match="interrupted after iteration"):
        estimator.fit(*pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(estimator.predict(pairs[1])).all()
    assert estimator.score(*pairs) > 0.2
    assert estimator.n_iter_ <= n
    assert len(estimator.lipschitz_) == 1
    pickle.dumps(estimator)
