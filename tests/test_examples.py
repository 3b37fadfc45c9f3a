"""The examples run, with few samples."""

import runpy
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
