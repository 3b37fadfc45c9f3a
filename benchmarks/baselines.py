"""What one would take otherwise: measurements in, reconstructions out, the tuning explicit.

The learned methods are functions of the training pairs that return a map of measurements to
signals. The others have a parameter, which :func:`in_hindsight` chooses on the test data
themselves: more than anybody can do in practice.
"""

from functools import partial
from itertools import product
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from skimage.transform import iradon
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.image import extract_patches_2d, reconstruct_from_patches_2d
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor

from skinvbayes.numerics.krylov import conjugate_gradients
from skinvbayes.operators import as_operator
from skinvbayes.problem.gaussian import linear_estimator

ALPHAS = np.logspace(-3, 3, 13)  # of Ridge
NEIGHBOURS = (3, 5, 10, 20, 40)
TIKHONOV = np.logspace(-5, 0, 21)
DISCREPANCY = 1.05  # of ‖A x − y‖ from δ √m: above one, lest noise be fitted
N_HINDSIGHT = 50
FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")


def regressors(seed=0):
    """The regressors of scikit-learn, with the grids that a validation part chooses from."""
    network = MLPRegressor(
        hidden_layer_sizes=(256,), early_stopping=True, max_iter=500, random_state=seed
    )
    return {
        "Ridge": (Ridge(), {"alpha": ALPHAS}),
        "k nearest neighbours": (
            KNeighborsRegressor(weights="distance"),
            {"n_neighbors": NEIGHBOURS},
        ),
        "MLPRegressor": (network, {"alpha": [1e-4, 1e-2, 1.0]}),
    }


def regression(name, X, Y, seed=0):
    """A tuned regressor from Y to X: a fifth of the pairs chooses, all are fitted again."""
    estimator, grid = regressors(seed)[name]
    split = ShuffleSplit(1, test_size=0.2, random_state=seed)
    scoring = "neg_root_mean_squared_error"
    with catch_warnings():
        simplefilter("ignore", ConvergenceWarning)
        return GridSearchCV(estimator, grid, cv=split, scoring=scoring).fit(Y, X).predict


def untuned_regressors(seed=0):
    """Regressors of scikit-learn as they come: Ridge chooses its own penalty, others have none."""
    boosting = HistGradientBoostingRegressor(random_state=seed)
    return {
        "Ridge": RidgeCV(alphas=np.logspace(-4, 4, 17)),
        "MLPRegressor": MLPRegressor(max_iter=500, random_state=seed),
        "HistGradientBoosting": MultiOutputRegressor(boosting),
    }


def untuned_regression(name, X, Y, seed=0):
    """An untuned regressor from Y to X.

    Measurements are centred and divided by one number for all channels, lest channels that hold
    only noise be inflated.
    """
    mean, scale = Y.mean(axis=0), Y.std()
    with catch_warnings():
        simplefilter("ignore", ConvergenceWarning)
        fitted = untuned_regressors(seed)[name].fit((Y - mean) / scale, X)
    return lambda Y: fitted.predict((Y - mean) / scale)


def lmmse(X, Y, operator, noise_level):
    """The linear minimum mean square error estimator, from the sample mean and covariance of X."""
    return linear_estimator(X.mean(axis=0), np.atleast_2d(np.cov(X.T)), operator, noise_level)


def patch_regression(name, X, Y, image_shape, size=8, n_patches=20_000, seed=0):
    """A tuned regressor from patches to patches, whose overlapping results are averaged."""
    n_each = max(1, n_patches // len(X))
    pairs = np.stack([X, Y], axis=-1).reshape(-1, *image_shape, 2)
    patches = np.concatenate(
        [
            extract_patches_2d(pair, (size, size), max_patches=n_each, random_state=i)
            for i, pair in enumerate(pairs)
        ]
    ).reshape(-1, size**2, 2)
    predict = regression(name, patches[..., 0], patches[..., 1], seed)

    def reconstruct(Y, image_shape):
        found = []
        for image in Y.reshape(-1, *image_shape):
            noisy = extract_patches_2d(image, (size, size)).reshape(-1, size**2)
            clean = predict(noisy).reshape(-1, size, size)
            found.append(reconstruct_from_patches_2d(clean, image_shape).ravel())
        return np.stack(found)

    return reconstruct


def in_hindsight(method, grid, Y, X):
    """The method with those parameters of the grid, a dict of lists, that suit the truth best.

    To save time, the truth of the first ``N_HINDSIGHT`` rows.
    """
    Y, X = Y[:N_HINDSIGHT], X[:N_HINDSIGHT]

    def error(parameters):
        return ((method(Y, **parameters) - X) ** 2).mean()

    candidates = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    return partial(method, **min(candidates, key=error))


def tikhonov(Y, operator, alpha, mean=0.0):
    """The least ``‖A x − y‖² + α ‖x − mean‖²`` by conjugate gradients; α may differ by row."""
    operator = as_operator(operator)
    centred = operator.adjoint(Y - operator.forward(np.broadcast_to(mean, (1, operator.shape[1]))))
    weight = np.broadcast_to(alpha, len(Y))[:, None]

    def shifted(v):
        return torch.from_numpy(operator.gram(v.numpy()) + weight * v.numpy())

    found, _ = conjugate_gradients(shifted, torch.from_numpy(centred), tol=1e-4, max_iter=300)
    return mean + found.numpy()


def discrepancy_principle(Y, operator, noise_level, mean=0.0, n_steps=10):
    """Tikhonov's reconstruction whose residual is that of the noise, a bit above ``δ √m``."""
    operator = as_operator(operator)
    expected = DISCREPANCY * noise_level * np.sqrt(Y.shape[1])
    low, high = (np.full(len(Y), np.log(alpha)) for alpha in (1e-5, 1e2))
    for _ in range(n_steps):  # the residual grows with α
        middle = (low + high) / 2
        found = tikhonov(Y, operator, np.exp(middle), mean)
        large = np.linalg.norm(operator.forward(found) - Y, axis=1) > expected
        low, high = np.where(large, low, middle), np.where(large, middle, high)
    return tikhonov(Y, operator, np.exp((low + high) / 2), mean)


def tv_denoising(Y, image_shape, weight, n_iter=200):
    """Total variation, the model of Rudin, Osher and Fatemi."""
    images = Y.reshape(-1, *image_shape)
    found = denoise_tv_chambolle(images, weight, eps=1e-4, max_num_iter=n_iter, channel_axis=0)
    return found.reshape(len(Y), -1)


def total_variation(Y, operator, image_shape, weight, n_iter=400):
    """``½‖A x − y‖² + weight TV(x)`` for ‖A‖ ≤ 1, by the primal-dual steps of Condat and Vũ."""
    operator = as_operator(operator)
    dual_step = 1 / (8 * len(image_shape))  # half of 1/‖∇‖², so that the primal step may be one
    found = image = operator.adjoint(Y)
    dual = np.zeros((len(image_shape), len(Y), *image_shape))
    for _ in range(n_iter):
        old = found
        found = old - operator.gram(old) + image - _adjoint_gradient(dual)
        ahead = (2 * found - old).reshape(-1, *image_shape)
        dual = dual + dual_step * _gradient(ahead)
        dual /= np.maximum(1, np.linalg.norm(dual, axis=0) / weight)
    return found


def total_variation_on_a_line(Y, operator, weight, n_iter=500):
    """``½‖A x − y‖² + weight TV(x)`` by the alternating direction method of multipliers.

    It inverts a matrix once, and converges for ill-conditioned operators too, for which the steps
    of :func:`total_variation` are too many.
    """
    differences = np.diff(np.eye(operator.shape[1]), axis=0)
    threshold = 1 / 30  # of differences, in units of the signals
    penalty = weight / threshold
    inverse = np.linalg.inv(operator.T @ operator + penalty * differences.T @ differences)
    jumps = dual = np.zeros((len(Y), len(differences)))
    for _ in range(n_iter):
        found = (Y @ operator + penalty * (jumps - dual) @ differences) @ inverse
        ahead = found @ differences.T + dual
        jumps = np.sign(ahead) * np.maximum(np.abs(ahead) - threshold, 0)
        dual = ahead - jumps
    return found


def _gradient(images):
    axes = range(1, images.ndim)
    return np.stack([np.diff(images, axis=i, append=images.take([-1], axis=i)) for i in axes])


def _adjoint_gradient(dual):
    parts = [-np.diff(part, axis=i, prepend=0) for i, part in enumerate(dual, start=1)]
    return sum(parts).reshape(len(parts[0]), -1)


def non_local_means(Y, image_shape, noise_level, h, patch_size, patch_distance, fast_mode):
    """Non-local means that know the noise level; h in units of it."""
    options = {"patch_size": patch_size, "patch_distance": patch_distance, "fast_mode": fast_mode}
    images = Y.reshape(-1, *image_shape)
    return np.stack(
        [
            denoise_nl_means(image, h=h * noise_level, sigma=noise_level, **options).ravel()
            for image in images
        ]
    )


def wavelets(Y, image_shape, noise_level, wavelet):
    """Soft thresholds of wavelet coefficients (BayesShrink) for a known noise level."""
    options = {"sigma": noise_level, "wavelet": wavelet, "rescale_sigma": True}
    images = Y.reshape(-1, *image_shape)
    return np.stack([denoise_wavelet(image, **options).ravel() for image in images])


def block_matching(Y, image_shape, noise_level):
    """BM3D, by the package of its authors."""
    import bm3d

    images = Y.reshape(-1, *image_shape)
    return np.stack([bm3d.bm3d(image, sigma_psd=noise_level).ravel() for image in images])


def filtered_back_projection(Y, problem, filter_name):
    """Filtered back-projection of a problem of make_tomography."""
    sinograms = problem.scale * Y.reshape(-1, *problem.sinogram_shape)
    return np.stack(
        [iradon(s, theta=problem.angles, filter_name=filter_name).ravel() for s in sinograms]
    )
