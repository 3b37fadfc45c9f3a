"""What importing the package brings along."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from programs import in_a_process, printed_by

PROGRAM = """
import contextlib, io, sys, torch, sklearn.base, sklearn.metrics, sklearn.model_selection
before = set(sys.modules)
import skinvbayes, skinvbayes.plotting, skinvbayes.datasets
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))

with contextlib.redirect_stdout(io.StringIO()):
    skinvbayes.show_versions()
print("dask" in sys.modules)

data = skinvbayes.datasets.make_bimodal(50, noise_level=0.3, random_state=0)
estimator = skinvbayes.DivergenceRegularizedINN(solver="adam", max_iter=2, random_state=0)
estimator.fit(data.X, data.Y)
print("torch._dynamo" in sys.modules)
"""


@pytest.fixture(scope="module")
def lines():
    """What a program in a fresh interpreter prints."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.fixture
def brought(lines):
    return set(lines[0].split())


@pytest.mark.parametrize(
    "name", ["matplotlib", "rich", "pandas", "polars", "dask", "skops", "skimage"]
)
def test_what_is_not_always_used_is_imported_when_used(brought, name):
    assert "skinvbayes" in brought
    assert name not in brought


def test_show_versions_does_not_import_optional_packages(lines):
    assert lines[1] == "False"


def test_the_first_fit_does_not_import_the_compiler_of_torch(lines):
    """It takes a second and 40 MiB, and fails for good if it is interrupted."""
    assert lines[2] == "False"


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


@pytest.mark.usefixtures("warm_processes")
def test_missing_extras_are_named():
    printed = in_a_process(printed_by, WITHOUT, {})
    named = [line.partition("skinvbayes[")[2].partition("]")[0] for line in printed.splitlines()]
    needs_newer = find_spec("sklearn.callback") is None  # which Checkpoint says first
    assert named == ["plot", "images", "" if needs_newer else "skops"]
