"""Does the memory of a process grow with the fits and predictions that it has made?

Tiny estimators are fitted and asked for predictions with their standard deviations, round after
round. After every tenth of the rounds the script prints what Python holds (as tracemalloc counts
it), the number of objects, and the peak of the whole process with what torch holds. Exits with
status 1 if the memory that Python holds grows by more than the limit after the first tenth.
"""

import argparse
import gc
import sys
import tracemalloc
import warnings

from measuring import peak_memory

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import make_bimodal

ESTIMATORS = ApproximationINN, ReconstructionINN, LogDetRegularizedINN, DivergenceRegularizedINN


def one_round(k, data):
    """A fit of one of the estimators in turn, a pass over more pairs, and predictions."""
    options = {"max_iter": 1, "hidden_layer_sizes": 2, "n_pieces": 2, "random_state": k}
    estimator = ESTIMATORS[k % len(ESTIMATORS)](**options).fit(data.X, data.Y)
    estimator.partial_fit(data.X, data.Y)
    estimator.predict(data.Y, return_std=True)


def held():
    """Bytes and objects that Python holds, once what can be freed is."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0], len(gc.get_objects())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=400, help="fits, each with a prediction")
    parser.add_argument("--limit", type=float, default=64.0, help="largest growth, in KiB")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of so few iterations
    data = make_bimodal(20, noise_level=0.3, random_state=0)
    tracemalloc.start()
    after = []
    print(f"{'rounds':>8} {'KiB in Python':>14} {'objects':>9} {'MiB at most':>12}")
    for k in range(options.rounds):
        one_round(k, data)
        if (k + 1) % max(1, options.rounds // 10) == 0:
            size, n_objects = held()
            after.append(size)
            print(f"{k + 1:8} {size / 2**10:14.1f} {n_objects:9} {peak_memory():12.1f}", flush=True)
    growth = (after[-1] - after[0]) / 2**10
    print(f"growth after the first tenth: {growth:.1f} KiB")
    return int(growth > options.limit)


if __name__ == "__main__":
    sys.exit(main())
