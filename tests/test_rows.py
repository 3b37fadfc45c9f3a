"""What a row gets does not depend on the rows beside it."""

import numpy as np
import pytest
from scipy.sparse import eye_array

from helpers import ALL
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_deblurring_digits, make_bimodal

A = np.array([[1.0, 0.3], [0.0, 0.5], [0.4, 0.2]])
OUTLIERS = [65_535, 1e12, 1e20]
CASES = {
    **{f"{cls.__name__}, gradient": (cls, {}) for cls in ALL},
    **{f"{cls.__name__}, mlp": (cls, {"residual": "mlp", "max_iter": 20}) for cls in ALL},
    "three blocks": (DivergenceRegularizedINN, {"n_blocks": 3, "max_iter": 20}),
}


@pytest.fixture(scope="module", params=[None, A], ids=["y", "normal equation"])
def plane(request):
    return make_bimodal(300, operator=request.param, noise_level=0.3, random_state=0)


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def fitted(request, plane):
    cls, parameters = request.param
    options = {"max_iter": 40, "random_state": 0} | parameters
    return cls(operator=plane.operator, **options).fit(plane.X, plane.Y), plane.Y[:20]


@pytest.fixture(scope="module")
def digits():
    return load_deblurring_digits()


BRANCHES = {
    "conv": {"residual": "conv", "image_shape": (8, 8), "kernel_size": 3, "max_iter": 2},
    "gradient": {"max_iter": 2},
    "gradient, few units": {"hidden_layer_sizes": 20, "max_iter": 2},
    "mlp": {"residual": "mlp", "max_iter": 1},
    "mlp, few units": {"residual": "mlp", "hidden_layer_sizes": (20, 20), "max_iter": 1},
}


@pytest.fixture(scope="module", params=BRANCHES.values(), ids=BRANCHES)
def images(request, digits):
    cls = DivergenceRegularizedINN
    estimator = cls(operator=digits.operator, random_state=0, **request.param)
    return estimator.fit(digits.X_train[:300], digits.Y_train[:300]), digits.Y_test[:10]


def with_outlier(Y, size):
    """Another row in front, ``size`` times as large as the others."""
    return np.vstack([size * np.abs(Y).max() * np.ones_like(Y[:1]), Y])


def assert_same_rows(function, Y, size, tolerance):
    """Each row of the results is the same with an outlier among the measurements."""
    alone, together = function(Y), function(with_outlier(Y, size))
    for expected, found in zip(alone, together, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[1:], expected, rtol=0, atol=tolerance * scale)


def results(estimator):
    """All that can be asked of a measurement."""
    cls = type(estimator).__name__

    def function(Y):
        found = [estimator.predict(Y), estimator.posterior_std(Y)]
        found += [estimator.posterior_std(Y[::-1], method="probing", n_probes=8)[::-1]]
        found += [estimator.posterior_covariance(Y), *estimator.posterior_interval(Y)]
        if cls == "DivergenceRegularizedINN":
            found.append(estimator.predict(Y, noise_level=0.25))
        return found

    return function


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", OUTLIERS)
def test_an_outlier_changes_no_other_row(fitted, size):
    assert_same_rows(results(fitted[0]), fitted[1], size, 1e-10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", OUTLIERS)
def test_an_outlier_changes_no_other_image(images, size):
    estimator, Y = images
    # conv stops at a residual of 1e-5 of each row
    assert_same_rows(lambda Y: [estimator.predict(Y)], Y, size, 1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", OUTLIERS)
def test_samples_without_matrices(digits, size):
    """Lanczos' method ends for each row by itself."""
    estimator = DivergenceRegularizedINN(operator=digits.operator, max_iter=1, random_state=0)
    estimator.fit(digits.X_train[:200], digits.Y_train[:200])

    def samples(Y):
        options = {"method": "probing", "n_samples": 2, "random_state": 0}
        # the outlier comes last, so that the others have the same random numbers
        return [estimator.sample_posterior(Y[::-1], **options)[::-1]]

    assert_same_rows(samples, digits.Y_test[:3], size, 1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_row_alone_is_the_row_among_others(plane):
    estimator = ReconstructionINN(operator=plane.operator, max_iter=40, random_state=0)
    estimator.fit(plane.X, plane.Y)
    together = estimator.predict(plane.Y[:50])
    alone = np.vstack([estimator.predict(row[None]) for row in plane.Y[:50]])
    np.testing.assert_allclose(alone, together, rtol=1e-11, atol=1e-11)


def test_single_precision(digits):
    """The same in float32, in units of its rounding."""
    estimator = DivergenceRegularizedINN(
        operator=eye_array(64),
        noise_level=0.1,
        residual="conv",
        image_shape=(8, 8),
        kernel_size=3,
        max_iter=1,
    ).fit(digits.X_train[:50], digits.X_train[:50] + 0.1)
    Y = digits.Y_test[:5].astype(np.float32)
    assert_same_rows(lambda Y: [estimator.predict(Y)], Y, 65_535, 1e-6)


def test_the_same_row_gets_the_same_bits_every_time():
    """Also with an operator of its own, where the linear first guess is solved for."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((40, 8))
    options = {"operator": np.eye(8), "noise_level": 0.3, "max_iter": 2, "random_state": 0}
    estimator = DivergenceRegularizedINN(**options).fit(X)
    other = estimator.adapt(operator=np.triu(np.ones((8, 8))), noise_level=0.2)
    incomplete = np.where(np.arange(8) == 1, np.nan, X[:5])
    for one, Y in (estimator, X[:5]), (estimator, incomplete), (other, X[:5]):
        first = one.predict(Y)
        for n in range(10):
            kept = np.empty(n)  # moves what is allocated next
            np.testing.assert_array_equal(one.predict(Y), first)
            del kept
