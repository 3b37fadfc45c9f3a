"""Does a training on a cluster end with the right result when workers die?

``DivergenceRegularizedINN`` is trained by L-BFGS on dask arrays on the workers of a LocalCluster,
each a process with one thread. In each round, one of them is killed at a random moment of the
training and another one joins, or one retires. The network has to be that of an undisturbed
training in one process, to the last bit. Exits with status 1 if it is not, or if a training fails.
"""

import os
import signal
import sys
import threading
import warnings
from time import perf_counter

import dask.array as da
import numpy as np
import torch
from dask.distributed import Client, LocalCluster
from measuring import arguments

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_mixture

FAULTS = "killed", "killed", "killed, and another joins", "retired"


def parameters(estimator):
    """All parameters of a network, one after the other."""
    return torch.cat([p.detach().ravel() for p in estimator.network_.parameters()]).numpy()


def disturb(client, cluster, fault, rng):
    """One of the workers dies or leaves."""
    workers = sorted(client.run(os.getpid).items())
    address, process = workers[rng.integers(len(workers))]
    if fault == "retired":
        client.retire_workers([address])
        return
    os.kill(process, signal.SIGKILL)
    if "joins" in fault:
        cluster.scale(len(workers) + 1)


def disturbed(estimator, arrays, fault, moment, rng):
    """Fit on a cluster of which one worker dies or leaves after so many seconds."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        timer = threading.Timer(moment, disturb, (client, cluster, fault, rng))
        timer.start()
        start = perf_counter()
        estimator.fit(*arrays)
        seconds = perf_counter() - start
        timer.join()
    return seconds


def main():
    rounds = {"type": int, "default": 10, "help": "trainings with a fault each"}
    pairs = {"type": int, "default": 400_000, "help": "pairs of six features"}
    options = arguments(__doc__.splitlines()[0], rounds=rounds, pairs=pairs)
    warnings.simplefilter("ignore")  # of so few iterations
    data = make_mixture(options.pairs, 10, n_features=6, operator="square", random_state=0)
    settings = {"operator": data.operator, "max_iter": 5, "random_state": 0}
    expected = parameters(DivergenceRegularizedINN(**settings).fit(data.X_train, data.Y_train))
    arrays = [da.from_array(array, chunks=(50_000, -1)) for array in (data.X_train, data.Y_train)]
    rng, longest, n_wrong = np.random.default_rng(0), 10.0, 0
    for k in range(options.rounds):
        fault, moment = FAULTS[k % len(FAULTS)], rng.uniform(0, longest)
        estimator = DivergenceRegularizedINN(**settings)
        try:
            longest = disturbed(estimator, arrays, fault, moment, rng)
            right = np.array_equal(parameters(estimator), expected)
            verdict = "the same bits" if right else "ANOTHER RESULT"
        except Exception as error:
            right, verdict = False, f"{type(error).__name__}: {error}"
        n_wrong += not right
        print(f"{fault} after {moment:.1f} s of {longest:.1f}: {verdict}", flush=True)
    print(f"{options.rounds - n_wrong} of {options.rounds} right")
    sys.exit(bool(n_wrong))


if __name__ == "__main__":
    main()
