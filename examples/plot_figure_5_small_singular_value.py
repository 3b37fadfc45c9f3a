"""
What happens to a direction that is hardly measured?
====================================================

With A = diag(1, 1/2) the second coordinate is measured at half its size, so that its noise weighs
more. How do a posterior mean and a MAP estimate fill in what is missing, and do networks that were
trained on the normal equation, z = Aᵀ y, follow them?
This is Figure 5 of the paper, whose ε = 1/2 is read as the small singular value of the operator;
``python -m skinvbayes reproduce --figure 5`` has it in full, with the other reading.
"""

import os
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.plotting import DeformedGridDisplay

n_samples = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 4000))
operator, noise_level = np.diag([1, 1 / 2]), 0.3
train, test = (
    make_bimodal(n_samples, operator=operator, noise_level=noise_level, random_state=i)
    for i in (0, 1)
)

# %%
# Each network beside the oracle that it should become.
known = {"operator": operator, "noise_level": noise_level}
pairs = {
    ReconstructionINN: ("posterior mean", partial(posterior_mean, train.prior, **known)),
    DivergenceRegularizedINN: ("MAP", partial(map_estimate, train.prior, **known)),
}
figure, axes = plt.subplots(2, 2, figsize=(7.6, 7.8), layout="constrained")
for row, (cls, (name, oracle)) in zip(axes, pairs.items(), strict=True):
    estimator = cls(operator=operator, random_state=0).fit(train.X, train.Y)
    distance = np.linalg.norm(estimator.predict(test.Y) - oracle(test.Y), axis=1)
    print(f"{cls.__name__}: median distance to the {name} {np.median(distance):.4f}")
    for ax, title, reconstruct in (
        *((row[0], cls.__name__, estimator.predict), (row[1], f"{name} (oracle)", oracle)),
    ):
        # the grid's points are signals; their noise-free measurements are reconstructed
        DeformedGridDisplay.from_function(
            lambda X, reconstruct=reconstruct: reconstruct(X @ operator.T), ax=ax, title=title
        )
        ax.plot(*train.prior.means.T, "k+", markersize=10, label="peaks of the prior")

# %%
# Around each peak the first direction shrinks to 0.64 of its size and the second to 0.31, and the
# networks follow. Where the MAP estimate jumps from one peak to the other, the network has a steep
# but continuous transition, as an invertible map must.
figure.suptitle("Where A x is sent, for an equidistant grid of x")
handles, labels = axes[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=2)
