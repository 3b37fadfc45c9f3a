"""How the benchmarks measure, and how they report."""

import argparse
import json
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from threadpoolctl import threadpool_limits

OUTPUT = Path(__file__).parent / "results"


def arguments(description, **more):
    """The options that all have, and more: their names with the arguments of add_argument."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer problems, shorter timings")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for everybody")
    for name, properties in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **properties)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    return options


def medians(functions, seconds):
    """Median time in seconds of every function, called in turns for so long each."""
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    end = perf_counter() + seconds * len(functions)
    while perf_counter() < end or min(map(len, times.values())) < 5:
        for name, function in functions.items():
            start = perf_counter()
            function()
            times[name].append(perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def peak_memory():
    """The most memory that this process has held so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Report:
    """A table that grows row by row, with the thresholds of its figures.

    Parameters
    ----------
    name : str
        Name of the files.
    columns : list of str
        Names of the columns.
    quick : bool, default=False
        Whether timings are too short to judge: thresholds are named then, and do not count.
    """

    def __init__(self, name, columns, quick=False):
        self.name, self.columns, self.rows, self.failures = name, columns, [], []
        self.quick = quick
        print("| " + " | ".join(columns) + " |")
        print("|---" * len(columns) + "|", flush=True)

    def add(self, *cells):
        """Print a row of strings and numbers."""
        self.rows.append(dict(zip(self.columns, cells, strict=True)))
        texts = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
        print("| " + " | ".join(texts) + " |", flush=True)

    def require(self, what, value, limit):
        """Note a figure that is past its threshold."""
        if not value <= limit:
            self.failures.append(f"{what}: {value:.4g}, above {limit:.4g}")

    def require_at_least(self, what, value, limit):
        """Note a figure that is below its threshold."""
        if not value >= limit:
            self.failures.append(f"{what}: {value:.4g}, below {limit:.4g}")

    def finish(self, draw=None):
        """Write JSON and a picture, name the failures, and exit with status 1 if they count."""
        self.write()
        if draw is not None:
            self.draw(draw, self.name)
        print(f"\npeak memory of the process: {peak_memory():.0f} MiB")
        for failure in self.failures:
            print(f"past its threshold: {failure}")
        sys.exit(bool(self.failures) and not self.quick)

    def write(self):
        """Write JSON."""
        OUTPUT.mkdir(exist_ok=True)
        versions = {
            name: metadata.version(name)
            for name in ("skinvbayes", "torch", "scikit-learn", "numpy")
        }
        record = {
            "machine": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "versions": versions,
            "peak memory, MiB": peak_memory(),
            "rows": self.rows,
            "failures": self.failures,
        }
        path = OUTPUT / f"{self.name}.json"
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False))

    def draw(self, draw, name):
        """Write the picture ``draw(pyplot, rows)`` to a file of this name."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        OUTPUT.mkdir(exist_ok=True)
        figure = draw(plt, self.rows)
        figure.savefig(OUTPUT / f"{name}.png", dpi=120, bbox_inches="tight")
        plt.close(figure)
