"""What importing the package brings along."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

PROGRAM = """
import sys, torch, sklearn.base, sklearn.metrics, sklearn.model_selection
before = set(sys.modules)
import skinvbayes, skinvbayes.plotting, skinvbayes.datasets
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.fixture(scope="module")
def brought():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "name", ["matplotlib", "rich", "pandas", "polars", "dask", "skops", "skimage"]
)
def test_what_is_not_always_used_is_imported_when_used(brought, name):
    assert "skinvbayes" in brought
    assert name not in brought


WITHOUT = """
import sys
gone = ["matplotlib", "matplotlib.pyplot", "skimage", "skops", "skops.io"]
sys.modules.update(dict.fromkeys(gone))
from skinvbayes import DivergenceRegularizedINN
from skinvbayes.callbacks import Checkpoint
from skinvbayes.datasets import load_photos, make_bimodal
from skinvbayes.plotting import LossCurveDisplay

problem = make_bimodal(60, random_state=0)
model = DivergenceRegularizedINN(max_iter=2, random_state=0).fit(problem.X, problem.Y)
for needs in (
    lambda: LossCurveDisplay.from_estimator(model),
    load_photos,
    lambda: Checkpoint("model.skops").setup(model, None),
):
    try:
        needs()
    except ImportError as error:
        print(error)
"""


def test_missing_extras_are_named():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    named = [line.partition("skinvbayes[")[2].partition("]")[0] for line in run.stdout.splitlines()]
    needs_newer = find_spec("sklearn.callback") is None  # which Checkpoint says first
    assert named == ["plot", "images", "" if needs_newer else "skops"]
