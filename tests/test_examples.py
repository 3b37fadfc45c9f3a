"""The examples run, with few samples and short trainings."""

import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from skinvbayes.training import stages

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/plot_*.py"))


@pytest.fixture
def hasty(monkeypatch):
    """Few samples, and no stage of a training takes more than two iterations."""
    minimize = stages.minimize

    def shortened(network, objective, *, max_iter, **options):
        return minimize(network, objective, max_iter=min(max_iter, 2), **options)

    monkeypatch.setattr(stages, "minimize", shortened)
    monkeypatch.setenv("SKINVBAYES_EXAMPLE_SAMPLES", "100")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, hasty):
    before = plt.get_fignums()
    runpy.run_path(str(path))
    assert len(plt.get_fignums()) > len(before)
    plt.close("all")


def test_examples_are_not_run_when_tests_are_collected():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    root = EXAMPLES[0].parents[1]
    run = subprocess.run([*command, "examples"], capture_output=True, text=True, cwd=root)
    assert "no tests" in run.stdout and "error" not in run.stdout
