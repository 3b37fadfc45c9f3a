from pathlib import Path

import matplotlib
import numpy as np
import pytest

from helpers import needs_callbacks
from programs import METHOD, PRELOADED
from skinvbayes.datasets import make_bimodal

matplotlib.use("Agg")
SLOW = set(Path(__file__).with_name("slow_tests.txt").read_text(encoding="utf-8").split())


def pytest_collection_modifyitems(items):
    """Mark the slow tests, which slow_tests.txt lists; skip what this scikit-learn has not."""
    for item in items:
        if f"{item.path.name}::{getattr(item, 'originalname', item.name)}" in SLOW:
            item.add_marker("slow")
        lines = item.dtest.examples if isinstance(item, pytest.DoctestItem) else []
        if any("set_callbacks" in line.source for line in lines):
            item.add_marker(needs_callbacks)


@pytest.fixture(scope="session")
def pairs():
    """A small 2-D problem: 300 pairs, A = I, δ = 0.3."""
    problem = make_bimodal(300, noise_level=0.3, random_state=0)
    return problem.X, problem.Y


@pytest.fixture
def one_trial(monkeypatch):
    """However few pairs are held out, one trial decides."""
    monkeypatch.setattr("skinvbayes.training.trial._MOST_TRIALS", 1)


@pytest.fixture
def rng():
    return np.random.RandomState(0)


@pytest.fixture(scope="session")
def warm_processes():
    """New processes have imported torch and scikit-learn, which takes seconds, not the package.

    They are copies of a server, those of dask and those of programs.py.
    """
    if METHOD != "forkserver":
        yield
        return
    import dask
    from distributed.utils import get_mp_context

    methods = ("multiprocessing.context", "distributed.worker.multiprocessing-method")
    with dask.config.set(dict.fromkeys(methods, METHOD)):
        get_mp_context().set_forkserver_preload(PRELOADED)  # after distributed's own list
        yield
