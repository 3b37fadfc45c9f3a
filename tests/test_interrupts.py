"""Ctrl-C: in a fit, in a search, and in the first fit of a process."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score

from helpers import interrupt_at
from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN


@pytest.fixture
def interrupt(monkeypatch):
    """Makes the keyboard interrupt the n-th iteration of all trainings, once."""
    return lambda n: interrupt_at(n, monkeypatch)


@pytest.mark.parametrize("n", [1, 6, 25])
def test_a_search_ends(n, pairs, interrupt):
    """It went on with the next fit, so that as many interrupts as fits were needed."""
    search = GridSearchCV(
        DivergenceRegularizedINN(max_iter=5, random_state=0), {"epsilon": [0.05, 0.1]}, cv=3
    )
    counted = interrupt(n)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*pairs)
    assert len(counted) == n and not hasattr(search, "best_estimator_")
    counted = interrupt(n)
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(search.estimator, *pairs, cv=6)
    assert len(counted) == n


def test_the_last_fit_of_a_search_keeps_what_it_learned(pairs, interrupt):
    estimator = DivergenceRegularizedINN(max_iter=5, random_state=0)
    search = GridSearchCV(estimator, {"epsilon": [0.1]}, cv=2)
    interrupt(13)  # the refit: of the best parameters, on all pairs
    with pytest.warns(ConvergenceWarning, match="interrupted after iteration 3"):
        search.fit(*pairs)
    assert search.best_estimator_.n_iter_ == 3


@pytest.mark.parametrize("cls", [LogDetRegularizedINN, ReconstructionINN])
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("n", [3, 18])
def test_iterations_are_counted_over_all_stages(cls, solver, n, pairs, interrupt):
    """The message told those of the last stage alone."""
    interrupt(n)
    estimator = cls(solver=solver, residual="mlp", max_iter=20, random_state=0)
    with pytest.warns(ConvergenceWarning, match=f"interrupted after iteration {n};"):
        estimator.fit(*pairs)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == n
    interrupt(1)
    with pytest.warns(ConvergenceWarning, match=f"interrupted after iteration {n + 1};"):
        estimator.set_params(warm_start=True).fit(*pairs)
    assert estimator.n_iter_ == n + 1


def test_an_interrupted_pass(pairs, interrupt, monkeypatch):
    estimator = DivergenceRegularizedINN(random_state=0)
    with monkeypatch.context() as patch:
        patch.setattr("skinvbayes.training.mean_loss.Objective.iteration", _interrupted)
        with pytest.warns(ConvergenceWarning, match="interrupted after iteration 0"):
            estimator.partial_fit(*pairs)
    assert np.isfinite(estimator.predict(pairs[1])).all()
    assert estimator.partial_fit(*pairs).n_iter_ == 1


def _interrupted(*args):
    raise KeyboardInterrupt
