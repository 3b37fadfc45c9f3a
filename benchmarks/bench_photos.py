"""Does a network trained on patches denoise photos better than total variation and NLM?

Patches of six photos to train, five other photos to test, with noise of standard deviation 25/255;
``--blur 1.5`` asks for deblurring instead. Prints a table and exits with status 1 when the best of
ours is not as far above total variation, or as near to non-local means, as the thresholds say.
"""

from functools import partial

from baselines import non_local_means, patch_regression, tv_denoising
from comparing import COLUMNS, NOTHING, VALIDATION, Comparison, draw_images
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_photos

PATCH = 40
DATA = {"patch_size": PATCH, "n_patches": 1500}
QUICK_DATA = {"patch_size": PATCH, "n_patches": 100, "test_size": 96}
CONV = {
    "residual": "conv",
    "image_shape": (PATCH, PATCH),
    "hidden_layer_sizes": 30,
    "learning_rate_init": 0.02,
    "batch_size": 2,
    "max_iter": 2,
}
SETTINGS = {DivergenceRegularizedINN: CONV, ReconstructionINN: CONV}
ABOVE_TV, ABOVE_NLM = 0.7, -0.2  # dB
TV_DENOISING = [0.04, 0.06, 0.08, 0.085, 0.09, 0.1, 0.12, 0.15]
TV_WEIGHTS = [0.002, 0.004, 0.008, 0.015, 0.03]
NLM = {  # h in units of the noise level
    "non-local means, fast": {
        "h": [0.5, 0.6, 0.7, 0.8, 1.0],
        "patch_size": [5, 7],
        "patch_distance": [6, 11],
    },
    "non-local means": {"h": [0.6, 0.8, 1.0, 1.2], "patch_size": [5], "patch_distance": [6, 11]},
}


def add_denoisers(comparison, noise_level, quick):
    shape = comparison.image_shape
    comparison.add_in_hindsight(
        "total variation", tv_denoising, {"weight": TV_DENOISING}, image_shape=shape
    )
    for name, grid in NLM.items():
        known = {"image_shape": shape, "noise_level": noise_level, "fast_mode": "fast" in name}
        if quick:
            grid = grid | {"patch_distance": [6]}
        comparison.add_in_hindsight(name, non_local_means, grid, **known)


def add_patch_regressors(comparison, problem):
    for name in ("Ridge", "MLPRegressor"):

        def fit(name):
            pairs = problem.X_train, problem.Y_train
            predict = patch_regression(name, *pairs, problem.image_shape)
            return partial(predict, image_shape=comparison.image_shape)

        comparison.add(f"{name} on patches of 8×8", VALIDATION, fit, name)


def fit_ours(cls, settings, problem, image_shape):
    """The prediction for whole photos of an estimator trained on patches."""
    known = {"operator": problem.operator, "noise_level": problem.noise_level}
    estimator = cls(**known, random_state=0, **settings)
    estimator.fit(problem.X_train, problem.Y_train)
    return estimator.adapt(image_shape=image_shape, operator=problem.operator_test).predict


def main():
    options = arguments(
        __doc__.splitlines()[0],
        blur={"type": float, "default": 0.0, "help": "of the photos, in pixels"},
    )
    problem = load_photos(blur=options.blur, **(QUICK_DATA if options.quick else DATA))
    shape = problem.photos_test.shape[1:]
    task = f"blur of {options.blur:g} pixels" if options.blur else "denoising"
    report = Report("photos_blur" if options.blur else "photos", COLUMNS)
    comparison = Comparison(report, f"photos, {task}", problem.X_test, problem.Y_test, shape)
    add_patch_regressors(comparison, problem)
    if options.blur:
        known = problem.operator_test, problem.noise_level
        comparison.add_classical(*known, problem.X_train.mean(), TV_WEIGHTS)
    else:
        add_denoisers(comparison, problem.noise_level, options.quick)
    for cls, settings in SETTINGS.items():
        chosen = settings | ({"max_iter": 2} if options.quick else {})
        comparison.add(cls.__name__, NOTHING, fit_ours, cls, chosen, problem, shape)

    if not options.quick:
        ours = comparison.best((cls.__name__ for cls in SETTINGS), "psnr")
        rivals = {"total variation": ABOVE_TV}
        if not options.blur:
            rivals |= dict.fromkeys(NLM, ABOVE_NLM)
        for name, above in rivals.items():
            report.require_at_least(f"PSNR over {name}", ours - comparison.psnr[name], above)
    report.finish(
        lambda plt, rows: draw_images(plt, comparison, ("measurement", problem.Y_test), zoom=128)
    )


if __name__ == "__main__":
    main()
