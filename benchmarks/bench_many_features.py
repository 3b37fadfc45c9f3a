"""Can 4,096 features be trained on and reconstructed without a matrix?

Tomography of 64×64 phantoms from 30 angles, 2,000 pairs, the divergence loss with the gradient
branch. Exits with status 1 where training takes 10 minutes or 4 GiB, or where the reconstruction of
100 measurements takes 20 seconds or leaves a relative residual above 1e-4.
"""

from time import perf_counter

import numpy as np
from measuring import Report, arguments, peak_memory

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_tomography

LIMITS = {"seconds to train": 600, "MiB": 4096, "seconds to reconstruct": 20, "residual": 1e-4}
DATA = {"n_train": 2000, "n_test": 100}
QUICK_DATA = {"n_train": 100, "n_test": 10, "image_size": 32}


def main():
    options = arguments(__doc__.splitlines()[0])
    problem = make_tomography(**(QUICK_DATA if options.quick else DATA))
    estimator = DivergenceRegularizedINN(
        operator=problem.operator, noise_level=problem.noise_level, max_iter=100, random_state=0
    )
    start = perf_counter()
    estimator.fit(problem.X_train, problem.Y_train)
    trained = perf_counter()
    found = estimator.predict(problem.Y_test)
    reconstructed = perf_counter()
    Z = estimator.operator_.adjoint(problem.Y_test)
    residual = np.linalg.norm(estimator.transform(found) - Z, axis=1) / np.linalg.norm(Z, axis=1)
    figures = (trained - start, peak_memory(), reconstructed - trained, residual.max())
    report = Report("many_features", ["d", *LIMITS, "epochs"])
    report.add(found.shape[1], *map(float, figures), estimator.n_iter_)
    for (name, limit), value in zip(LIMITS.items(), figures, strict=True):
        report.require(name, value, limit)
    report.finish()


if __name__ == "__main__":
    main()
