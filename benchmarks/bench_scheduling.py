"""What does an evaluation of loss and gradient over all pairs take on many workers?

Two things are measured on this machine: the seconds of the evaluation in one process, for each
pair, and what dask takes to hand out a chunk and to collect its sums, with two worker processes
and chunks on which nothing is computed. The first is shared by the workers and the second is not,
since one scheduler serves them all; so both together tell what 10⁸ pairs take on more workers than
there are here, as long as a worker is as fast as a core of this machine.
"""

import tempfile
from pathlib import Path
from time import perf_counter
from unittest import mock

import dask.array as da
import numpy as np
from bench_distributed import D, fit, make_pairs, mapped, sent_bytes
from dask.distributed import Client, LocalCluster
from measuring import Report, arguments

from skinvbayes.training import pair_chunks
from skinvbayes.training.dask_chunks import DaskChunks

N_PAIRS, WORKERS = 10**8, (2, 20, 200)
N_PARAMETERS = 4752  # of the network: they go out once, and as many sums come back from a chunk
ROWS = 100  # of a chunk on which nothing is computed
COLUMNS = ["workers", "computing, s", "scheduling, s", "evaluation, s", "moved, MB"]


def seconds_for_a_pair(n):
    """Of an evaluation in one process."""
    with tempfile.TemporaryDirectory() as folder:
        make_pairs(Path(folder), n)
        return fit(Path(folder), mapped, 2)["seconds"] / n


def costs_of_a_chunk(n_chunks, repeats=5):
    """Seconds and bytes of handing out one of so many chunks."""
    X = da.zeros((ROWS * n_chunks, D), chunks=(ROWS, D))
    with mock.patch.object(pair_chunks, "_CHUNK_ENTRIES", 2 * D * ROWS):
        chunks = DaskChunks(X, X)
    vector = np.zeros(N_PARAMETERS)
    shared = chunks.shared(vector)
    chunks.sums(nothing, shared, vector)
    start, sent = perf_counter(), sent_bytes()
    for _ in range(repeats):
        chunks.sums(nothing, shared, vector)
    total = repeats * len(chunks)
    return (perf_counter() - start) / total, (sent_bytes() - sent) / total


def nothing(pairs, index, shared, vector):
    """As many sums as an evaluation has."""
    return len(pairs.X), vector


def main():
    options = arguments(__doc__.splitlines()[0])
    computing = seconds_for_a_pair(200_000)
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**settings) as cluster, Client(cluster):
        scheduling, moved = costs_of_a_chunk(200 if options.quick else 1000)
    rows = pair_chunks.chunk_rows(2 * D)
    print(f"{1e6 * computing:.3g} µs of computing for each pair;", end=" ")
    print(f"{1e3 * scheduling:.3g} ms and {moved / 1e3:.3g} kB for each chunk of {rows:,} pairs\n")
    report, n_chunks = Report("scheduling", COLUMNS), N_PAIRS / rows
    for n_workers in WORKERS:
        parts = N_PAIRS * computing / n_workers, n_chunks * scheduling
        report.add(n_workers, *parts, max(parts), n_chunks * moved / 1e6)
    report.finish()


if __name__ == "__main__":
    main()
