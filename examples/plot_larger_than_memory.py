"""
What if the pairs do not fit into memory?
=========================================

Pairs lie on the disk. ``partial_fit`` learns from one part after the other; ``fit`` takes
memory-mapped arrays, and dask arrays on the workers of a cluster, as they are; and ``predict``
works through both. How close does the network come to the exact posterior mean?
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skinvbayes import ReconstructionINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.oracles import posterior_mean

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 1_100_000))
part = max(n_samples // 40, 50)

# %%
# The pairs as memory-mapped arrays: opening them reads nothing.
folder = tempfile.TemporaryDirectory()
pairs = make_bimodal(n_samples, noise_level=0.4, random_state=0)
for name in "XY":
    np.save(Path(folder.name) / f"{name}.npy", pairs[name])
X, Y = (np.load(Path(folder.name) / f"{name}.npy", mmap_mode="r") for name in "XY")

# %%
# A pass over the parts. The first one decides on units, noise level and operator, so it should be
# representative.
test = make_bimodal(2000, noise_level=0.4, random_state=1)
mean = posterior_mean(test.prior, test.Y, noise_level=0.4)
smallest_error = np.linalg.norm(mean - test.X)
estimator = ReconstructionINN(random_state=0)
seen, excess = [], []
for start in range(0, n_samples, part):
    rows = slice(start, start + part)
    estimator.partial_fit(X[rows], Y[rows])
    seen.append(min(start + part, n_samples))
    error = np.linalg.norm(estimator.predict(test.Y) - test.X)
    excess.append(100 * (error / smallest_error - 1))
print(f"after one pass over {n_samples} pairs: {excess[-1]:.2f} % above the posterior mean's RMSE")

# %%
# The whole training on what lies on the disk. Of more than about four million numbers, a random
# sample tells what the problem is, and training looks at all pairs, chunk by chunk.
whole = ReconstructionINN(random_state=0).fit(X, Y)
error = np.linalg.norm(whole.predict(test.Y) - test.X)
print(f"after fit: {100 * (error / smallest_error - 1):.2f} % above")

# %%
# The same on a cluster, here of two workers, each of which reads its chunks and keeps them; it is
# sent the weights of the network. The model is the same.


def read(path, start, stop):
    """Some rows of a file."""
    return np.array(np.load(path, mmap_mode="r")[start:stop])


try:
    import dask
    import dask.array as da
    from dask.distributed import Client, LocalCluster
except ImportError:
    print('for dask arrays: pip install "skinvbayes[dask]"')
else:

    def lazy_rows(name):
        """A file as a dask array, of which workers read the chunks."""
        path, chunks = Path(folder.name) / f"{name}.npy", []
        for start in range(0, n_samples, part):
            rows = dask.delayed(read)(path, start, start + part)
            shape = min(part, n_samples - start), 2
            chunks.append(da.from_delayed(rows, shape=shape, dtype=float))
        return da.concatenate(chunks)

    lazy = [lazy_rows(name) for name in "XY"]
    options = {"n_workers": 2, "processes": False, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster):
        other = ReconstructionINN(random_state=0, verbose=True).fit(*lazy)
    difference = abs(other.predict(test.Y) - whole.predict(test.Y)).max()
    print(f"largest difference of the reconstructions: {difference:.1e}")

    # Reconstructions of dask arrays are dask arrays, which are computed when they are asked for; a
    # score takes one pass over the chunks.
    lazy_X, lazy_Y = lazy
    deviation = abs(other.predict(lazy_Y) - lazy_X).mean()
    print(f"mean deviation: {deviation.compute():.3f}, score: {other.score(lazy_X, lazy_Y):.4f}")

# %%
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.loglog(seen, np.maximum(excess, 1e-2), marker=".", label="partial_fit, one pass")
ax.axhline(max(100 * (error / smallest_error - 1), 1e-2), color="C1", label="fit")
ax.set(
    xlabel="pairs seen by partial_fit",
    ylabel="RMSE above the posterior mean's (%)",
    title="Learning from pairs on the disk",
)
ax.legend()
folder.cleanup()
