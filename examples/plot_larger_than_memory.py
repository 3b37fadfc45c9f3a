"""
What if the pairs do not fit into memory?
=========================================

Pairs lie on the disk. ``partial_fit`` learns from one part after the other, and ``predict`` works
through a memory-mapped array, or takes a dask array and returns one, whose chunks are computed on
several cores when they are asked for. How close does the network come to the exact posterior mean?
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skinvbayes import ReconstructionINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.oracles import posterior_mean

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 40_000))
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
# Reconstruction of all measurements: in chunks of bounded memory straight from the disk, or lazily
# through dask.
from_disk = estimator.predict(Y)
try:
    import dask.array as da
except ImportError:
    print('for the dask array: pip install "skinvbayes[dask]"')
else:
    lazy_X, lazy_Y = (da.from_array(rows, chunks=(part, -1)) for rows in (X, Y))
    lazy = estimator.predict(lazy_Y)  # nothing is computed yet
    print(f"largest difference of dask's chunks: {abs(lazy - from_disk).max().compute():.1e}")
    print(f"score of all pairs, in one pass over the chunks: {estimator.score(lazy_X, lazy_Y):.4f}")

# %%
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.loglog(seen, np.maximum(excess, 1e-2), marker=".")
ax.set(
    xlabel="pairs seen by partial_fit",
    ylabel="RMSE above the posterior mean's (%)",
    title="Learning from a stream of pairs",
)
folder.cleanup()
