"""The commands print, draw and write what they say."""

import csv
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from skinvbayes.__main__ import main
from skinvbayes.commands import figures
from skinvbayes.commands.figures import FIGURES, figure_1, figure_4
from skinvbayes.commands.options import Run
from skinvbayes.commands.study import Study
from skinvbayes.training import guard

SMALL = ["--n-train", "60", "--n-test", "40", "--quiet"]
METHODS = {
    *("posterior mean (oracle)", "MAP (oracle)", "ApproximationINN", "ReconstructionINN"),
    *("LogDetRegularizedINN", "DivergenceRegularizedINN"),
}


@pytest.fixture
def short_trainings(monkeypatch, request):
    """Few iterations, where nothing depends on what was learned, or a given number."""
    fit, max_iter = Study.fit, getattr(request, "param", 4)

    def hasty(study, cls, **parameters):
        return fit(study, cls, **parameters, max_iter=max_iter)

    monkeypatch.setattr(Study, "fit", hasty)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:The loss was still falling")
@pytest.mark.usefixtures("short_trainings")
def test_demo_prints_tables_and_writes_pictures(tmp_path, capsys, monkeypatch):
    def hasty(**parameters):
        return MLPRegressor(**parameters | {"max_iter": 1})

    monkeypatch.setattr("skinvbayes.commands.demo.MLPRegressor", hasty)
    monkeypatch.setattr(guard, "_SHARES", (0.0, 1.0))
    main([*SMALL, "--digits-epochs", "1", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    for name in ("DivergenceRegularizedINN", "MAP (oracle)", "Ridge", "MLPRegressor", "excess"):
        assert name in printed
    for name in ("grids.png", "digits.png"):
        assert (tmp_path / name).stat().st_size > 10_000
        assert str(tmp_path / name) in printed
    plt.close("all")


@pytest.fixture
def short_sweep(monkeypatch):
    """One weight in Figure 4."""
    monkeypatch.setattr(figures, "_SWEEP", np.array([1.0]))


@pytest.mark.filterwarnings("ignore:The loss was still falling")
@pytest.mark.usefixtures("short_sweep", "short_trainings")
@pytest.mark.parametrize("number", FIGURES)
def test_reproduce_writes_picture_and_numbers(number, tmp_path, capsys):
    main(["reproduce", *SMALL, "--figure", number, "--seed", "3", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert f"Figure {number}" in printed
    assert "Divergence" in printed
    name = tmp_path / f"figure-{number}"
    assert name.with_suffix(".png").stat().st_size > 10_000
    record = json.loads(name.with_suffix(".json").read_text())
    assert (record["seed"], record["n_train"], record["n_test"]) == (3, 60, 40)
    assert set(record["versions"]) == {"skinvbayes", "python", "numpy", "torch", "scikit-learn"}
    with open(name.with_suffix(".csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(record["rows"])
    expected = METHODS if number != "3" else METHODS - {"ApproximationINN", "LogDetRegularizedINN"}
    for problem in {row["problem"] for row in rows}:
        assert {row["method"] for row in rows if row["problem"] == problem} == expected
    for written, row in zip(rows, record["rows"], strict=True):
        for column, value in row.items():
            assert np.isfinite(value) if isinstance(value, float) else value
            assert written[column] == str(value)
    assert not plt.get_fignums()


def test_all_is_every_figure(tmp_path, capsys, monkeypatch):
    def draw(run):
        """Nothing."""
        return plt.figure(), [{"problem": "none", "method": "none", "seconds": float(run.seed)}]

    for number in FIGURES:
        monkeypatch.setitem(FIGURES, number, draw)
    main(["reproduce", "--output", str(tmp_path), "--seed", "7"])
    for number in FIGURES:
        assert (tmp_path / f"figure-{number}.csv").read_text().splitlines()[1] == "none,none,7.0"


def test_unknown_figure_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--figure", "2"])
    assert "invalid choice: '2'" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:The loss was still falling")
@pytest.mark.usefixtures("short_trainings")
def test_grids_share_their_limits():
    figure, rows = figure_1(Run(n_train=60, n_test=40))
    assert {(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes} == {((-2, 2), (-2, 2))}
    assert len(rows) == len(figure.axes) == 6
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[2:] == ["peaks of the prior"]
    assert labels[:2] == ["lines that were vertical", "lines that were horizontal"]
    plt.close(figure)


@pytest.mark.filterwarnings("ignore:The loss was still falling")
@pytest.mark.parametrize("short_trainings", [20], indirect=True)
@pytest.mark.usefixtures("short_sweep", "short_trainings")
def test_two_errors_at_small_size():
    """The divergence loss is near the best in both errors, its own prior term taken out."""
    figure, rows = figure_4(Run(n_train=300, n_test=200))
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    plt.close(figure)
    for problem in {row["problem"] for row in rows}:
        chosen = [row for row in rows if row["problem"] == problem and "seconds" in row]
        (divergence,) = (
            row
            for row in chosen
            if row["method"] == "DivergenceRegularizedINN" and row["weight / δ²"] == 1
        )
        best = {
            name: min(row[name] for row in chosen) for name in ("reconstruction RMSE", "recovered")
        }
        assert divergence["reconstruction RMSE"] < 1.1 * best["reconstruction RMSE"]
        assert divergence["recovered"] < 1.1 * best["recovered"]
        assert divergence["forward RMSE to z"] > 1.2 * best["recovered"]
