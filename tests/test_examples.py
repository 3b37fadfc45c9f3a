"""The examples run, with few samples; the demo and the displays draw what they say."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from skinvbayes.__main__ import main
from skinvbayes.plotting import DeformedGridDisplay, ImagesDisplay

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/plot_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, monkeypatch):
    monkeypatch.setenv("SKINVBAYES_EXAMPLE_SAMPLES", "200")
    before = plt.get_fignums()
    runpy.run_path(str(path))
    assert len(plt.get_fignums()) > len(before)
    plt.close("all")


def test_demo_prints_tables_and_writes_pictures(tmp_path, capsys):
    sizes = ["--n-train", "150", "--n-test", "100", "--digits-epochs", "1"]
    main([*sizes, "--quiet", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    for name in ("DivergenceRegularizedINN", "MAP (oracle)", "Ridge", "MLPRegressor", "excess"):
        assert name in printed
    for name in ("grids.png", "digits.png"):
        assert (tmp_path / name).stat().st_size > 10_000
        assert str(tmp_path / name) in printed
    plt.close("all")


def test_deformed_grid_of_the_identity_is_the_grid():
    display = DeformedGridDisplay.from_function(lambda Y: Y, n_lines=3, n_points=5, title="grid")
    assert display.lines.shape == (6, 5, 2)
    assert np.ptp(display.lines[:3, :, 0], axis=1).max() == 0
    assert np.ptp(display.lines[3:, :, 1], axis=1).max() == 0
    assert len(display.ax_.lines) == 6
    assert display.ax_.get_title() == "grid"
    plt.close(display.figure_)


def test_images_display_shows_every_row():
    rows = {"truth": np.zeros((2, 6)), "other": np.ones((3, 6))}
    display = ImagesDisplay(rows, (2, 3)).plot()
    assert display.axes_.shape == (2, 2)
    assert display.axes_[1, 0].get_ylabel() == "other"
    assert np.array_equal(display.axes_[1, 0].images[0].get_array(), np.ones((2, 3)))
    plt.close(display.figure_)
