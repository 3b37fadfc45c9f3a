"""Which regressor deblurs digits best, ours or scikit-learn's?

1,400 blurred, noisy digits of 8×8 pixels to train, 397 to test. Prints a table and exits with
status 1 when one of ours is past its threshold or above a regressor of scikit-learn.
"""

from baselines import regressors
from comparing import COLUMNS, Comparison, draw_images
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_deblurring_digits

SETTINGS = {
    DivergenceRegularizedINN: {},
    LogDetRegularizedINN: {},
    ReconstructionINN: {},
}
QUICK = {"max_iter": 10}
LIMITS = {  # of the RMSE
    DivergenceRegularizedINN: 0.134,
    LogDetRegularizedINN: 0.134,
    ReconstructionINN: 0.126,
}
TV_WEIGHTS = [0.01, 0.02, 0.03, 0.04, 0.06]


def main():
    options = arguments(__doc__.splitlines()[0])
    data = load_deblurring_digits()
    n_train, n_test = (200, 20) if options.quick else (1400, 397)
    train = data.X_train[:n_train], data.Y_train[:n_train]
    X, Y = data.X_test[:n_test], data.Y_test[:n_test]

    report = Report("digits", COLUMNS)
    comparison = Comparison(report, "digits", X, Y, data.image_shape)
    comparison.add_regressors(*train)
    known = data.operator, data.noise_level
    comparison.add_classical(*known, train[0].mean(axis=0), TV_WEIGHTS)
    given = {"operator": data.operator, "noise_level": data.noise_level}
    comparison.add_ours(SETTINGS, *train, **given | (QUICK if options.quick else {}))

    if not options.quick:
        rival = comparison.best(regressors())
        for cls, limit in LIMITS.items():
            report.require(f"RMSE, {cls.__name__}", comparison.rmse[cls.__name__], limit)
            report.require(
                f"RMSE, {cls.__name__}, to the best regressor",
                comparison.rmse[cls.__name__],
                rival,
            )
    report.finish(lambda plt, rows: draw_images(plt, comparison, ("measurement", Y)))


if __name__ == "__main__":
    main()
