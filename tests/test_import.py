"""What importing the package brings along."""

import subprocess
import sys

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
