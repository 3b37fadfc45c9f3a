"""The command that reproduces the paper's figures: pictures, CSV, JSON, and printed tables.

``python -m skinvbayes reproduce --help`` says how to use it.
"""

import csv
import json
from platform import python_version
from time import perf_counter

import numpy as np
import sklearn
import torch

from .. import __version__
from .figures import FIGURES
from .options import Run
from .output import prepare_folder

__all__ = ["main"]

# the columns of the printed tables, with their headers; the files have all columns
_PRINTED = {
    "method": "",
    "weight / δ²": "ε / δ²",
    "reconstruction RMSE": "RMSE to x",
    "excess over posterior mean, %": "excess, %",
    "median distance to MAP": "to MAP",
    "to posterior mean": "to mean",
    "forward RMSE to z": "φ(x) to z",
    "recovered": "recovered",
    "stationarity, %": "station., %",
}


def _write(folder, name, figure, rows, run):
    """Write the picture, the table (CSV), and the settings and versions with the rows (JSON)."""
    figure.savefig(folder / f"{name}.png", dpi=120)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    record = {
        "figure": name,
        "seed": run.seed,
        "n_train": run.n_train,
        "n_test": run.n_test,
        "versions": {
            "skinvbayes": __version__,
            "python": python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "rows": rows,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def main(options, printer):
    """Compute figures; write pictures, CSV and JSON, print tables.

    Parameters
    ----------
    options : argparse.Namespace
        As :func:`skinvbayes.commands.options.parse_arguments` reads them.
    printer : Printer
        Where to print.
    """
    import matplotlib.pyplot as plt

    numbers = FIGURES if options.figure == "all" else [options.figure]
    files = [f"figure-{number}.{kind}" for number in numbers for kind in ("png", "csv", "json")]
    prepare_folder(options.output, files)
    run = Run.from_options(options)
    for number in numbers:
        compute = FIGURES[number]
        start = perf_counter()
        printer.tell(f"Figure {number}: {compute.__doc__}")
        figure, rows = compute(run)
        name = f"figure-{number}"
        _write(options.output, name, figure, rows, run)
        plt.close(figure)
        for problem in dict.fromkeys(row["problem"] for row in rows):
            cells = [
                [_cell(row.get(column)) for column in _PRINTED]
                for row in rows
                if row["problem"] == problem
            ]
            printer.table(f"Figure {number}: {problem}", list(_PRINTED.values()), cells)
        seconds = perf_counter() - start
        printer.tell(f"{options.output / name}.png, .csv, .json ({seconds:.0f} s)")


def _cell(value):
    """A number with four digits after the point, or a shortened name."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value or "").replace("RegularizedINN", "").replace("INN", "")
