"""Which method finds the heat's past best, and how does that depend on the noise?

Backward conduction of heat on a rod of 64 cells and on a plate of 32×32 at three noise levels, and
as an extra a sensor that saturates, a nonlinear problem beyond the theory. Prints a table and exits
with status 1 when, at one of the noise levels, Tikhonov's best reconstructions in hindsight are
better than ours.
"""

import numpy as np
from comparing import COLUMNS, Comparison, draw_images, draw_signals
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_backward_heat, make_saturating_sensor

# heat conduction is so ill-posed that steps must be small and L near one
SLOW = {"learning_rate_init": 1e-4, "prior_bandwidth": 0.03, "lipschitz": 0.9999, "max_iter": 100}
CONV = {
    "residual": "conv",
    "image_shape": (32, 32),
    "batch_size": 2,
    "learning_rate_init": 0.02,
}
SETTINGS = {
    "rod": {DivergenceRegularizedINN: SLOW, ReconstructionINN: SLOW},
    "plate": {
        DivergenceRegularizedINN: CONV | {"max_iter": 6},
        ReconstructionINN: CONV | {"max_iter": 3},
    },
    "sensor": {DivergenceRegularizedINN: {}, ReconstructionINN: {}},
}
PLACES = {(64,): "rod", (32, 32): "plate"}
QUICK = {"max_iter": 5}
NOISE_LEVELS = (0.005, 0.02, 0.05)
N_TRAIN = {"rod": 8000, "plate": 500, "sensor": 8000}
TV_WEIGHTS = [0.001, 0.003, 0.01, 0.03, 0.1]
DATA_RANGE = 4.0  # of temperatures and of light


def compare(report, name, data, settings, quick):
    """All methods on one problem; those that need an operator only where there is one."""
    pairs = data.X_train, data.Y_train
    if data.operator is not None:  # a matrix of this size is faster than steps in time
        data.operator = data.operator @ np.eye(data.X_train.shape[1])
    comparison = Comparison(report, name, data.X_test, data.Y_test, data.image_shape, DATA_RANGE)
    comparison.add_regressors(*pairs)
    if data.operator is not None:
        known = data.operator, data.noise_level
        comparison.add_classical(*known, data.X_train.mean(axis=0), TV_WEIGHTS)
    given = {"operator": data.operator, "noise_level": data.noise_level}
    comparison.add_ours(settings, *pairs, **given | (QUICK if quick else {}))
    return comparison


def problems(n_train, n_test, only):
    """Names, data and settings."""
    for shape, place in PLACES.items():
        for noise_level in NOISE_LEVELS if only in (None, place) else ():
            options = {"shape": shape, "noise_level": noise_level}
            data = make_backward_heat(n_train[place], n_test, **options)
            name = f"heat, {'×'.join(map(str, shape))}, δ = {noise_level}"
            yield name, data, SETTINGS[place]
    if only in (None, "sensor"):
        data = make_saturating_sensor(n_train["sensor"], n_test)
        yield f"EXTRA: saturating sensor, δ = {data.noise_level}", data, SETTINGS["sensor"]


def main():
    options = arguments(
        __doc__.splitlines()[0], only={"choices": list(SETTINGS), "help": "one of the problems"}
    )
    report = Report("heat", COLUMNS)
    done = []
    for name, data, settings in problems(
        *((dict.fromkeys(N_TRAIN, 200), 20) if options.quick else (N_TRAIN, 200)), options.only
    ):
        comparison = compare(report, name, data, settings, options.quick)
        done.append(comparison)
        if data.operator is not None and not options.quick:
            ours = comparison.best(cls.__name__ for cls in settings)
            report.require(f"RMSE, {name}", ours, comparison.rmse["Tikhonov"])
    plates, lines = ([c for c in done if len(c.image_shape) == n] for n in (2, 1))
    if plates:
        middle = plates[1]
        report.draw(
            lambda plt, rows: draw_images(plt, middle, ("measurement", middle.Y)), "heat_plate"
        )
    report.finish((lambda plt, rows: draw_signals(plt, lines)) if lines else None)


if __name__ == "__main__":
    main()
