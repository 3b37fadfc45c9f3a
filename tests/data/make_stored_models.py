"""Write models as this version stores them, for the tests of later ones.

``python tests/data/make_stored_models.py FOLDER``, in the environment of the version that is to be
kept. Whoever raises ``skinvbayes.estimators.persistence.FORMAT`` runs it before and after, and adds
the files to this folder; what they predicted goes with them.
"""

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)

A = np.array([[1.0, 0.2], [0.0, 0.7], [0.5, 0.5]])
OPTIONS = {"hidden_layer_sizes": (2,), "max_iter": 3, "random_state": 0}


def models():
    """Fitted models by their names, as small as they can be."""
    rng = np.random.RandomState(0)
    X = rng.choice([-1.0, 1.0], (40, 1)) + 0.3 * rng.standard_normal((40, 2))
    noise = 0.2 * rng.standard_normal((40, 3)) * [1.0, 2.0, 1.0]
    with_operator = X, X @ A.T + noise
    pairs = X, X + noise[:, :2]
    divergence = DivergenceRegularizedINN(operator=A, **OPTIONS).fit(*with_operator)
    mlp = OPTIONS | {"residual": "mlp", "hidden_layer_sizes": (2, 2)}
    log_det = LogDetRegularizedINN(n_blocks=2, **OPTIONS)
    correlated = 0.04 * (np.eye(3) + 0.5)
    return {
        "approximation": ApproximationINN(**mlp).fit(*pairs),
        "divergence": divergence,
        "adapted": divergence.adapt(operator=A[:2], noise_level=[0.1, 0.3]),
        "log-determinant": log_det.partial_fit(*pairs),
        "reconstruction": ReconstructionINN(noise_covariance=correlated, operator=A, **OPTIONS).fit(
            *with_operator
        ),
        "reconstructor": Reconstructor(DivergenceRegularizedINN(**OPTIONS)).fit(*pairs[::-1]),
    }


def main(folder):
    """Write the files and what the models predict."""
    found = {}
    for name, model in models().items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))
        Y = np.linspace(-1, 1, 4 * 3).reshape(4, 3)[:, : getattr(model, "n_measurements_in_", 2)]
        signals, std = model.predict(Y, return_std=True)
        found |= {f"{name} Y": Y, f"{name} signals": signals, f"{name} std": std}
    np.savez_compressed(folder / "predicted.npz", **found)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
