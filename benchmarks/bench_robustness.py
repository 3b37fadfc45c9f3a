"""What if the measurements are not those of the training, and how bad can it get?

On blurred digits: other noise levels, an operator that is slightly wrong, outliers. Then the worst
small perturbations of the measurements, against the certified bound of the inverse. Prints two
tables and exits with status 1 if a reconstruction changes by more than the certificate allows.
"""

import numpy as np
from baselines import regression
from measuring import Report, arguments
from scipy.ndimage import gaussian_filter, shift

from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_deblurring_digits
from skinvbayes.numerics.errors import entry_rmse
from skinvbayes.operators import as_operator

SETTINGS = {
    DivergenceRegularizedINN: {},
    LogDetRegularizedINN: {},
    ReconstructionINN: {},
}
QUICK = {"max_iter": 10}
NOISE_FACTORS = (0.5, 0.75, 1.5, 2.0)
WRONG_BLURS = (0.6, 0.8)  # pixels; the right one is 0.7
SHIFTS = (0.1, 0.25)  # pixels
OUTLIERS, OUTLIER_FACTOR = 0.05, 10
FRACTIONS = (0.01, 0.1, 0.5, 1.0)  # of the norm of the noise
N_STEPS = 10  # of the search for the worst perturbation


def fit_ours(cls, data, noise_level, Y, quick):
    settings = SETTINGS[cls] | (QUICK if quick else {})
    estimator = cls(operator=data.operator, noise_level=noise_level, random_state=0, **settings)
    return estimator.fit(data.X_train, Y)


def perturbed(data, noise):
    """Name and size of what is off, with the measurements."""
    level, X = data.noise_level, data.X_test
    clean = X @ data.operator.T
    yield "nothing", "", clean + level * noise
    for sigma in WRONG_BLURS:
        yield "blur of the data", f"{sigma} instead of 0.7", blurred(X, sigma) + level * noise
    for pixels in SHIFTS:
        images = shift(X.reshape(-1, 8, 8), (0, 0, pixels), order=1)
        moved = images.reshape(X.shape) @ data.operator.T
        yield "shift of the data", f"{pixels} pixels", moved + level * noise
    rng = np.random.RandomState(1)
    hit = rng.uniform(size=X.shape) < OUTLIERS
    outliers = OUTLIER_FACTOR * level * rng.standard_normal(X.shape)
    measured = np.where(hit, outliers, clean + level * noise)
    yield "outliers", f"{OUTLIERS:.0%}, {OUTLIER_FACTOR} δ", measured


def blurred(X, sigma):
    """The blur of load_deblurring_digits with another width, and the factor of the right one."""

    def blur(images, sigma):
        return gaussian_filter(images, (0, sigma, sigma), mode="constant").reshape(-1, 64)

    norm = np.linalg.norm(blur(np.eye(64).reshape(-1, 8, 8), 0.7), 2)
    return blur(X.reshape(-1, 8, 8), sigma) / norm


def compare_data(report, data, methods, noise):
    reference = {}
    for what, size, Y in perturbed(data, noise):
        for name, predict in methods.items():
            error = entry_rmse(predict(Y), data.X_test)
            reference.setdefault(name, error)
            report.add(what, size, name, error, f"{100 * (error / reference[name] - 1):+.1f} %")
    return reference


def compare_noise_levels(report, data, methods, estimator, reference, quick):
    train_noise, test_noise = (
        np.random.RandomState(seed).standard_normal(X.shape)
        for seed, X in ((2, data.X_train), (3, data.X_test))
    )
    for factor in NOISE_FACTORS:
        level = factor * data.noise_level
        Y_train, Y = (
            X @ data.operator.T + level * noise
            for X, noise in ((data.X_train, train_noise), (data.X_test, test_noise))
        )
        name = DivergenceRegularizedINN.__name__
        again = fit_ours(DivergenceRegularizedINN, data, level, Y_train, quick)
        found = {method: predict(Y) for method, predict in methods.items()}
        found[f"{name}, told the level"] = estimator.predict(Y, noise_level=level)
        found[f"{name}, trained at the level"] = again.predict(Y)
        found["Ridge, trained at the level"] = regression("Ridge", data.X_train, Y_train)(Y)
        for method, X in found.items():
            old = reference[method.split(",")[0]]
            error = entry_rmse(X, data.X_test)
            report.add(
                "noise level", f"{factor:g} δ", method, error, f"{100 * error / old - 100:+.1f} %"
            )


def certified(estimator):
    """Lipschitz constant of the reconstruction: ``‖A‖`` over the least slope of φ.

    φ(x) = z̄ + s a ψ((x − x̄)/s) with a = ‖AᵀA‖, so that Dφ = a Dψ, whatever the units s.
    """
    lowest, _ = estimator.network_.blocks[0].bounds()
    operator = as_operator(estimator.operator)
    return operator.norm() / (lowest.item() * operator.normal().norm())


def amplification(estimator, Y, changes, found):
    return np.linalg.norm(estimator.predict(Y + changes) - found, axis=1) / np.linalg.norm(
        changes, axis=1
    )


def worst_changes(estimator, Y, found, size):
    """Perturbations of this norm that change the reconstructions most.

    From the leading right singular vector of J⁻¹ Aᵀ, the worst of the linearised reconstruction,
    by projected gradient with infinite steps; the worst seen on the way are kept.
    """
    A = as_operator(estimator.operator).to_dense()
    right = np.linalg.svd(np.linalg.solve(estimator.jacobian(found), A.T))[2]
    changes = size * right[:, 0]
    worst = np.zeros(len(Y))
    for _ in range(N_STEPS):
        ahead = estimator.predict(Y + changes)
        difference = ahead - found
        worst = np.maximum(worst, np.linalg.norm(difference, axis=1) / size)
        transposed = estimator.jacobian(ahead).transpose(0, 2, 1)
        gradient = np.linalg.solve(transposed, difference[..., None])[..., 0] @ A.T
        changes = size * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    return worst


def compare_worst(report, data, fitted, Y):
    rng = np.random.RandomState(4)
    directions = rng.standard_normal(Y.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for name, estimator in fitted.items():
        found, bound = estimator.predict(Y), certified(estimator)
        for fraction in FRACTIONS:
            size = fraction * data.noise_level * np.sqrt(Y.shape[1])
            random = amplification(estimator, Y, size * directions, found)
            worst = worst_changes(estimator, Y, found, size)
            seen = max(worst.max(), random.max())
            report.add(
                *(name, fraction, float(np.median(random)), float(np.median(worst))),
                *(float(seen), bound),
            )
            report.require(f"amplification, {name}, {fraction:g} of the noise", seen, bound)


def main():
    options = arguments(__doc__.splitlines()[0])
    data = load_deblurring_digits()
    n_train, n_test = (300, 20) if options.quick else (1400, 397)
    data.X_train, data.Y_train = data.X_train[:n_train], data.Y_train[:n_train]
    data.X_test = data.X_test[:n_test]
    noise = np.random.RandomState(0).standard_normal(data.X_test.shape)

    fitted = {
        cls.__name__: fit_ours(cls, data, data.noise_level, data.Y_train, options.quick)
        for cls in SETTINGS
    }
    regressors = {
        name: regression(name, data.X_train, data.Y_train) for name in ("Ridge", "MLPRegressor")
    }
    methods = regressors | {name: estimator.predict for name, estimator in fitted.items()}
    report = Report("robustness", ["what is off", "by", "method", "RMSE", "to RMSE as trained"])
    reference = compare_data(report, data, methods, noise)
    divergence = fitted[DivergenceRegularizedINN.__name__]
    compare_noise_levels(report, data, methods, divergence, reference, options.quick)
    report.write()

    print("\nhow much the reconstruction changes, over how much the measurement does:\n")
    columns = ["method", "‖dy‖ / ‖noise‖", "random dy, median"]
    worst = Report(
        "robustness_worst", [*columns, "worst dy, median", "worst dy, largest", "certified"]
    )
    n_attacked = 10 if options.quick else 50
    clean = data.X_test[:n_attacked] @ data.operator.T
    Y = clean + data.noise_level * noise[:n_attacked]
    compare_worst(worst, data, fitted, Y)
    worst.finish()


if __name__ == "__main__":
    main()
