"""The examples run, with few samples."""

import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/plot_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, monkeypatch):
    monkeypatch.setenv("SKINVBAYES_EXAMPLE_SAMPLES", "200")
    before = plt.get_fignums()
    runpy.run_path(str(path))
    assert len(plt.get_fignums()) > len(before)
    plt.close("all")


def test_examples_are_not_run_when_tests_are_collected():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    root = EXAMPLES[0].parents[1]
    run = subprocess.run([*command, "examples"], capture_output=True, text=True, cwd=root)
    assert "no tests" in run.stdout and "error" not in run.stdout
