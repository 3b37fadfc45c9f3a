import matplotlib
import numpy as np
import pytest

from skinvbayes.datasets import make_bimodal

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def pairs():
    """A small 2-D problem: 300 pairs, A = I, δ = 0.3."""
    problem = make_bimodal(300, noise_level=0.3, random_state=0)
    return problem.X, problem.Y


@pytest.fixture
def rng():
    return np.random.RandomState(0)
