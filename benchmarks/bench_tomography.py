"""Which method sees most in few projections?

Phantoms of ellipses, seen by parallel beams from 30 angles. Prints a table and exits with status 1
when the best of ours is not 2 dB above filtered back-projection and above Tikhonov's best
reconstructions in hindsight.
"""

from baselines import FILTERS, filtered_back_projection
from comparing import COLUMNS, Comparison, draw_images
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_tomography

DATA = {"n_train": 500, "n_test": 100, "image_size": 64}
QUICK_DATA = {"n_train": 50, "n_test": 5, "image_size": 32}
CONV = {
    "residual": "conv",
    "batch_size": 2,
    "learning_rate_init": 0.02,
    "lipschitz": 0.9999,  # so few projections: there are directions that they hardly see
    "max_iter": 8,
}
SETTINGS = {DivergenceRegularizedINN: CONV | {"max_iter": 12}, ReconstructionINN: CONV}
QUICK = {"max_iter": 2}
ABOVE = 2.0  # dB
TV_WEIGHTS = [0.0001, 0.0003, 0.001, 0.003]


def main():
    options = arguments(__doc__.splitlines()[0])
    problem = make_tomography(**(QUICK_DATA if options.quick else DATA))
    pairs = problem.X_train, problem.Y_train
    report = Report("tomography", COLUMNS)
    comparison = Comparison(
        report, "tomography", problem.X_test, problem.Y_test, problem.image_shape
    )
    comparison.add_in_hindsight(
        *("filtered back-projection", filtered_back_projection, {"filter_name": FILTERS}),
        problem=problem,
    )
    comparison.add_regressors(*pairs)
    known = problem.operator, problem.noise_level
    comparison.add_classical(*known, pairs[0].mean(axis=0), TV_WEIGHTS)
    comparison.add_ours(
        {cls: chosen | (QUICK if options.quick else {}) for cls, chosen in SETTINGS.items()},
        *pairs,
        operator=problem.operator,
        noise_level=problem.noise_level,
        image_shape=problem.image_shape,
    )

    if not options.quick:
        ours = comparison.best((cls.__name__ for cls in SETTINGS), "psnr")
        for name in ("filtered back-projection", "Tikhonov"):
            report.require_at_least(f"PSNR over {name}", ours - comparison.psnr[name], ABOVE)
    filtered = comparison.found["filtered back-projection"]
    report.finish(
        lambda plt, rows: draw_images(plt, comparison, ("filtered back-projection", filtered))
    )


if __name__ == "__main__":
    main()
