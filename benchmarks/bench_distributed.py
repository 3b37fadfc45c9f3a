"""What does training over chunks cost, in one process and on the workers of a cluster?

``DivergenceRegularizedINN`` by L-BFGS on pairs of 16 features in memory-mapped arrays: in one
process, and as dask arrays on a LocalCluster of one and of two processes with one thread each.
Seconds of an evaluation of loss and gradient over all pairs (the median), the speed beside one
worker, peak memory beyond the imports of the client and of the largest worker, and megabytes
that pass the loopback interface in each evaluation. Each measurement is a process of its own.

Exits with status 1 when two workers are less than 1.6 times as fast as one with 10⁶ pairs, when the
client needs more than 300 MiB, or when results differ by more than rounding.
"""

import multiprocessing
import tempfile
import threading
from pathlib import Path
from statistics import median
from time import perf_counter

import dask
import dask.array as da
import numpy as np
import psutil
from dask.distributed import Client, LocalCluster
from measuring import Report, arguments, peak_memory

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.numerics.chunks import slices
from skinvbayes.training.chunked_objective import ChunkedObjective

D, NOISE = 16, 0.3
SIZES = (200_000, 1_000_000)
WAYS = {"one process": 0, "1 worker": 1, "2 workers": 2}
SPEED, CLIENT_MEMORY = 1.6, 300  # of two workers beside one; in MiB
MEBIBYTE = 2**20
COLUMNS = [
    *("pairs", "data, MiB", "way", "evaluation, s", "speed beside 1 worker"),
    *("client, MiB", "worker, MiB", "moved, MB", "loss"),
]


def make_pairs(folder, n):
    """Signals around three centres, and measurements of them, in two files."""
    rng = np.random.default_rng(0)
    centres, A = rng.standard_normal((3, D)), operator()
    files = [
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=float, shape=(n, D))
        for name in "XY"
    ]
    for start in range(0, n, 100_000):
        size = min(100_000, n - start)
        X = centres[rng.integers(3, size=size)] + 0.5 * rng.standard_normal((size, D))
        files[0][start : start + size] = X
        files[1][start : start + size] = X @ A.T + NOISE * rng.standard_normal((size, D))


def operator():
    """A matrix that mixes the features."""
    return np.random.default_rng(1).standard_normal((D, D)) / np.sqrt(D)


def measure(folder, n_workers, options, result):
    """Put the figures of one fit into a queue."""
    if n_workers == 0:
        result.put(fit(folder, mapped, options.iterations))
        return
    settings = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": None}
    settings["memory_limit"] = options.memory_limit
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        figures = fit(folder, lazy, options.iterations)
        result.put(figures | {"worker": max(client.run(peak_memory).values())})


def mapped(path):
    """The rows of a file, which are read when they are needed."""
    return np.load(path, mmap_mode="r")


def lazy(path):
    """The same as a dask array, of which each worker reads its part."""
    rows = mapped(path)
    parts = [
        da.from_delayed(dask.delayed(part_of)(path, rows_of), rows[rows_of].shape, rows.dtype)
        for rows_of in slices(len(rows), 16_384)
    ]
    return da.concatenate(parts)


def part_of(path, rows):
    """Some rows of a file, in memory."""
    return np.array(mapped(path)[rows])


def fit(folder, opened, max_iter):
    """The figures of a fit on the files of a folder, opened in one of these ways."""
    times, moved, memory = [], [], Memory()
    arrays = (opened(folder / f"{name}.npy") for name in "XY")
    evaluate = ChunkedObjective.backward

    def timed(objective, network):
        start, sent = perf_counter(), sent_bytes()
        values = evaluate(objective, network)
        times.append(perf_counter() - start)
        moved.append(sent_bytes() - sent)
        return values

    ChunkedObjective.backward = timed
    settings = {"operator": operator(), "noise_level": NOISE, "random_state": 0}
    estimator = DivergenceRegularizedINN(max_iter=max_iter, **settings).fit(*arrays)
    figures = {"seconds": median(times), "client": memory.end(), "worker": ""}
    return figures | {"moved": median(moved) / 1e6, "loss": estimator.loss_curve_[-1]}


class Memory(threading.Thread):
    """The most memory that this process takes from now on, in MiB; mapped files do not count."""

    def __init__(self):
        super().__init__(daemon=True)
        self.first = self.most = self.now()
        self.ended = threading.Event()
        self.start()

    def now(self):
        info = psutil.Process().memory_info()
        return (info.rss - info.shared) / MEBIBYTE

    def run(self):
        while not self.ended.wait(0.02):
            self.most = max(self.most, self.now())

    def end(self):
        self.ended.set()
        return self.most - self.first


def sent_bytes():
    """What has passed the loopback interface."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


def figures_of(folder, n_workers, options):
    """The figures from a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    result = spawn.Queue()
    process = spawn.Process(target=measure, args=(folder, n_workers, options, result))
    process.start()
    figures = result.get()
    process.join()
    return figures


def main():
    sizes = {"type": int, "nargs": "+", "default": SIZES, "help": "numbers of pairs"}
    limit = {"default": "auto", "help": "memory of a worker, beyond which dask moves data to disk"}
    more = {
        "pairs": sizes,
        "memory_limit": limit,
        "iterations": {"type": int, "default": 3, "help": "of L-BFGS"},
        "ways": {"nargs": "+", "default": list(WAYS), "choices": list(WAYS), "help": "of training"},
    }
    options = arguments(__doc__.splitlines()[0], **more)
    report = Report("distributed", COLUMNS)
    for n in options.pairs[:1] if options.quick else options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            make_pairs(Path(folder), n)
            found = {way: figures_of(Path(folder), WAYS[way], options) for way in options.ways}
        one = found.get("1 worker", {"seconds": np.nan, "loss": next(iter(found.values()))["loss"]})
        for way, f in found.items():
            data, speed = 2 * n * D * 8 / MEBIBYTE, one["seconds"] / f["seconds"]
            cells = f["seconds"], speed, f["client"], f["worker"], f["moved"], f["loss"]
            report.add(n, data, way, *cells)
            report.require(f"MiB of the client, {n} pairs, {way}", f["client"], CLIENT_MEMORY)
            difference = abs(f["loss"] - one["loss"])
            report.require(f"difference of the loss, {n} pairs, {way}", difference, 1e-9)
        if n >= 1_000_000 and {"1 worker", "2 workers"} <= found.keys():
            report.require_at_least("speed of 2 workers", speed, SPEED)
    report.finish()


if __name__ == "__main__":
    main()
