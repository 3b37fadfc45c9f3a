"""Does a network trained on patches denoise photos as well as BM3D?

Patches of six photos to train, five other photos to test, with noise of standard deviation 25/255;
``--noise`` asks for another one, ``--blur 1.5`` for deblurring instead. Prints a table, the PSNR of
every photo, and how sure our estimators are: the seconds that standard deviations take, and the
coverage of 90 % intervals. Exits with status 1 when the best of ours is not as far above total
variation, or as near to non-local means and BM3D, as the thresholds say.

Published, not measured here (BSD68, noise of 25/255): BM3D 28.57 dB; WCRR-NN, filters with weakly
convex responses as ours, 28.68 dB (Goujon, Neumayer and Unser, 2024).
"""

from functools import partial
from time import perf_counter

import numpy as np
from baselines import block_matching, non_local_means, patch_regression, tv_denoising, wavelets
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
    "max_iter": 8,
}
LONGER = {"learning_rate_init": 0.025, "max_iter": 10}
SETTINGS = {DivergenceRegularizedINN: CONV, ReconstructionINN: CONV | LONGER}
ABOVE_TV, ABOVE_NLM, ABOVE_BM3D = 0.7, -0.2, -0.24  # dB
COVERAGE, STD_SECONDS = (87, 93), 10  # per cent, and times those of a reconstruction
WAVELETS = {"wavelet": ["haar", "db4", "sym8"]}
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
    known = {"image_shape": shape, "noise_level": noise_level}
    comparison.add_in_hindsight("wavelets", wavelets, WAVELETS, **known)
    try:
        comparison.add("BM3D", NOTHING, lambda: partial(block_matching, **known))
    except ImportError:
        print("bm3d is not installed and left out")


def add_patch_regressors(comparison, problem):
    for name in ("Ridge", "MLPRegressor"):

        def fit(name):
            pairs = problem.X_train, problem.Y_train
            predict = patch_regression(name, *pairs, problem.image_shape)
            return partial(predict, image_shape=comparison.image_shape)

        comparison.add(f"{name} on patches of 8×8", VALIDATION, fit, name)


def fit_ours(cls, settings, problem, image_shape):
    """An estimator for whole photos that was trained on patches."""
    known = {"operator": problem.operator, "noise_level": problem.noise_level}
    estimator = cls(**known, random_state=0, **settings)
    estimator.fit(problem.X_train, problem.Y_train)
    return estimator.adapt(image_shape=image_shape, operator=problem.operator_test)


def tell_each(comparison, name, photos):
    """The PSNR of every photo."""
    report = Report(f"{name}_each", ["PSNR, dB", *photos, "mean"])
    for method, found in comparison.found.items():
        psnr = -10 * np.log10(((found - comparison.X) ** 2).mean(axis=1))
        report.add(method, *(f"{value:.2f}" for value in (*psnr, psnr.mean())))
    report.write()


def tell_uncertainty(report, comparison, name, estimators):
    """Seconds of the standard deviations of a photo, and the coverage of intervals."""
    columns = ["method", "seconds to reconstruct", "seconds of std", "ratio", "coverage, %"]
    others = Report(f"{name}_uncertainty", columns)
    for method, estimator in estimators.items():
        reconstruct, deviations, inside = [], [], []
        for x, y in zip(comparison.X, comparison.Y[:, None], strict=True):
            start = perf_counter()
            estimator.predict(y)
            reconstruct.append(perf_counter() - start)
            ((lower, upper),) = zip(*estimator.posterior_interval(y), strict=True)
            deviations.append(perf_counter() - start - 2 * reconstruct[-1])
            inside.append(((lower <= x) & (upper >= x)).mean())
        ratio, coverage = np.sum(deviations) / np.sum(reconstruct), 100 * np.mean(inside)
        others.add(method, np.mean(reconstruct), np.mean(deviations), ratio, coverage)
        report.require(f"seconds of std over reconstruction, {method}", ratio, STD_SECONDS)
        report.require(f"coverage, {method}", coverage, COVERAGE[1])
        report.require_at_least(f"coverage, {method}", coverage, COVERAGE[0])
    others.write()


def main():
    options = arguments(
        __doc__.splitlines()[0],
        blur={"type": float, "default": 0.0, "help": "of the photos, in pixels"},
        noise={"type": float, "default": 25.0, "help": "standard deviation, where white is 255"},
    )
    data = QUICK_DATA if options.quick else DATA
    problem = load_photos(blur=options.blur, noise_level=options.noise / 255, **data)
    shape = problem.photos_test.shape[1:]
    task = f"blur of {options.blur:g} pixels" if options.blur else f"noise {options.noise:g}/255"
    name = "photos_blur" if options.blur else "photos"
    report, estimators = Report(name, COLUMNS, options.quick), {}
    comparison = Comparison(report, f"photos, {task}", problem.X_test, problem.Y_test, shape)
    add_patch_regressors(comparison, problem)
    if options.blur:
        known = problem.operator_test, problem.noise_level
        comparison.add_classical(*known, problem.X_train.mean(), TV_WEIGHTS)
    else:
        add_denoisers(comparison, problem.noise_level, options.quick)
    for cls, settings in SETTINGS.items():
        chosen = settings | ({"max_iter": 2} if options.quick else {})

        def fit(cls=cls, chosen=chosen):
            estimators[cls.__name__] = estimator = fit_ours(cls, chosen, problem, shape)
            return estimator.predict

        comparison.add(cls.__name__, NOTHING, fit)
    tell_each(comparison, name, problem.photo_names["test"])
    tell_uncertainty(report, comparison, name, estimators)

    if not options.quick:
        ours = comparison.best((cls.__name__ for cls in SETTINGS), "psnr")
        rivals = {"total variation": ABOVE_TV}
        if not options.blur:
            rivals |= dict.fromkeys(NLM, ABOVE_NLM)
            if "BM3D" in comparison.psnr:
                rivals["BM3D"] = ABOVE_BM3D
        for rival, above in rivals.items():
            report.require_at_least(f"PSNR over {rival}", ours - comparison.psnr[rival], above)
    report.finish(
        lambda plt, rows: draw_images(plt, comparison, ("measurement", problem.Y_test), zoom=128)
    )


if __name__ == "__main__":
    main()
