"""Which method finds the heat's past best, and how does that depend on the noise?

Backward conduction of heat on a rod of 64 cells and on a plate of 32×32 at three noise levels, and
as an extra a sensor that saturates, a nonlinear problem beyond the theory. Prints a table and exits
with status 1 when, at one of the noise levels, Tikhonov's best reconstructions in hindsight are
better than ours.
"""

from functools import partial

import numpy as np
from baselines import TIKHONOV, discrepancy_principle, tikhonov, total_variation
from comparing import COLUMNS, NOTHING, Comparison, draw_images, draw_signals
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_backward_heat, make_saturating_sensor

SETTINGS = {  # for each problem; the loss with the log-determinant needs matrices
    (64,): {
        DivergenceRegularizedINN: {},
        LogDetRegularizedINN: {},
        ReconstructionINN: {},
    },
    (32, 32): {DivergenceRegularizedINN: {}, ReconstructionINN: {}},
    "sensor": {DivergenceRegularizedINN: {}, ReconstructionINN: {}},
}
QUICK = {"max_iter": 5}
NOISE_LEVELS = (0.005, 0.02, 0.05)
N_TRAIN = 2000
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
        add_classical(comparison, data)
    given = {"operator": data.operator, "noise_level": data.noise_level}
    comparison.add_ours(settings, *pairs, **given | (QUICK if quick else {}))
    return comparison


def add_classical(comparison, data):
    centred = {"operator": data.operator, "mean": data.X_train.mean(axis=0)}
    principle = partial(discrepancy_principle, noise_level=data.noise_level, **centred)
    comparison.add("Tikhonov, discrepancy principle", NOTHING, lambda: principle)
    comparison.add_in_hindsight("Tikhonov", tikhonov, {"alpha": TIKHONOV}, **centred)
    variation = {"operator": data.operator, "image_shape": data.image_shape}
    comparison.add_in_hindsight(
        "total variation", total_variation, {"weight": TV_WEIGHTS}, **variation
    )


def require_better(report, comparison, settings):
    ours = comparison.best(cls.__name__ for cls in settings)
    report.require(f"RMSE, {comparison.name}", ours, comparison.rmse["Tikhonov"])


def main():
    options = arguments(__doc__.splitlines()[0])
    n_train, n_test = (200, 20) if options.quick else (N_TRAIN, 200)
    report = Report("heat", COLUMNS)
    done = {}
    for shape in ((64,), (32, 32)):
        for noise_level in NOISE_LEVELS:
            data = make_backward_heat(n_train, n_test, shape=shape, noise_level=noise_level)
            name = f"heat, {'×'.join(map(str, shape))}, δ = {noise_level}"
            found = compare(report, name, data, SETTINGS[shape], options.quick)
            if not options.quick:
                require_better(report, found, SETTINGS[shape])
            done[shape, noise_level] = found
    data = make_saturating_sensor(n_train, n_test)
    name = f"EXTRA: saturating sensor, δ = {data.noise_level}"
    extra = compare(report, name, data, SETTINGS["sensor"], options.quick)

    plate = done[(32, 32), 0.02]
    report.draw(lambda plt, rows: draw_images(plt, plate, ("measurement", plate.Y)), "heat_2d")
    lines = [found for (shape, _), found in done.items() if len(shape) == 1] + [extra]
    report.finish(lambda plt, rows: draw_signals(plt, lines))


if __name__ == "__main__":
    main()
