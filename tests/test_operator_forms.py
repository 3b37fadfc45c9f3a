"""Operators as people have them: any format, any function, complex by mistake."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.utils.fixes import parse_version

from helpers import every
from skinvbayes import DivergenceRegularizedINN, Reconstructor, reconstruction_scorer
from skinvbayes.datasets import make_bimodal
from skinvbayes.diagnostics import sufficiency_gap, tweedie_gap
from skinvbayes.operators import Operator, as_operator, check_adjoint, estimate_operator
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.priors import GaussianMixturePrior

FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]
MATRICES = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "a view": lambda A: np.repeat(np.repeat(A, 2, axis=0), 2, axis=1)[::2, ::2],
    "list": lambda A: A.tolist(),
    "pandas": pd.DataFrame,
    "named": lambda A: pd.DataFrame(A, columns=[f"x{j}" for j in range(A.shape[1])]),
    "torch": torch.tensor,
    "torch, sparse": lambda A: torch.tensor(A).to_sparse(),
    **{f"{name} matrix": getattr(sparse, f"{name}_matrix") for name in FORMATS},
    **{f"{name} array": getattr(sparse, f"{name}_array") for name in FORMATS},
}
DTYPES = ["float64", "float32", "int64", "int8", "bool"]
shapes = st.tuples(st.integers(1, 5), st.integers(1, 5))
whole_numbers = st.integers(-4, 4)  # which every dtype holds, and whose products are exact


@st.composite
def matrices(draw):
    A = draw(arrays(np.int64, draw(shapes), elements=whole_numbers))
    return A.astype(draw(st.sampled_from(DTYPES)))


def assert_acts_as(operator, A, tolerance=1e-12):
    """All products, the matrix and the norm are those of A, and no product changes another."""
    A = np.asarray(A, dtype=np.float64)
    X, Y = (np.random.RandomState(0).standard_normal((3, n)) for n in A.shape[::-1])
    given = X.copy(), Y.copy()
    close = {"rtol": 0, "atol": tolerance * (1 + np.abs(A).sum() ** 2)}
    for rows in (slice(None), slice(1)):
        images, preimages = operator.forward(X[rows]), operator.adjoint(Y[rows])
        operator.gram(X), operator.adjoint(2 * Y)
        assert images.dtype == preimages.dtype == np.float64
        np.testing.assert_allclose(images, X[rows] @ A.T, **close)
        np.testing.assert_allclose(preimages, Y[rows] @ A, **close)
    np.testing.assert_allclose(operator.gram(X), X @ A.T @ A, **close)
    np.testing.assert_allclose(operator.normal().to_dense(), A.T @ A, **close)
    np.testing.assert_allclose(operator.to_dense(), A, **close)
    np.testing.assert_allclose(operator.norm(), np.linalg.norm(A, 2), **close)
    assert np.array_equal(X, given[0]) and np.array_equal(Y, given[1])
    check_adjoint(operator, random_state=0, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(matrices(), st.sampled_from(sorted(MATRICES)))
def test_a_matrix_may_have_any_format(A, form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_acts_as(as_operator(MATRICES[form](A)), A)


def test_a_frame_of_polars():
    polars = pytest.importorskip("polars")
    assert_acts_as(
        as_operator(polars.DataFrame(np.arange(6).reshape(3, 2))), [[0, 1], [2, 3], [4, 5]]
    )


@pytest.mark.parametrize("form", [sparse.coo_array, sparse.csr_array])
def test_entries_that_are_stored_twice_count_once(form):
    A = sparse.coo_array(([1.0, 2.0, 5.0], ([0, 0, 1], [0, 0, 1])))
    if form is sparse.csr_array:
        A = form(([1.0, 2.0, 5.0], [0, 0, 1], [0, 2, 3]))
    assert (abs(as_operator(A).base) ** 2).sum() == 3.0**2 + 5.0**2
    assert len(A.data) == 3  # what was given is as it was


@pytest.mark.parametrize("wrong", [pd.DataFrame({"a": ["b"]}), pd.DataFrame({"a": [pd.NA]})])
def test_frames_without_numbers(wrong):
    with pytest.raises(ValueError, match="operator must be a matrix of real numbers"):
        as_operator(wrong)


VECTOR = sparse.coo_array(np.ones(3))  # before SciPy 1.13 a matrix with one row


@pytest.mark.parametrize("wrong", [np.float64(3), torch.ones(2), *[VECTOR] * (VECTOR.ndim == 1)])
def test_what_is_no_matrix(wrong):
    with pytest.raises(ValueError, match="operator must be a matrix of shape"):
        as_operator(wrong)


# ------------------------------------------------------------------------------------- functions


def function(A, taken, given, shared, spoils):
    """The product with A, by a function as people write them."""
    buffer = np.empty(len(A), dtype=given)

    def product(x):
        if (taken == "vectors") == (x.ndim > 1) and taken != "any":
            raise IndexError("This shape is not taken.")
        image = (A @ x).astype(given)
        if spoils:
            x[:] = np.nan
        if not shared:
            return image.tolist() if given == "float64" else image
        buffer[:] = image.ravel()
        return buffer if x.ndim == 1 else buffer[:, None]

    return product


def unchanged(operator):
    return operator


# from 1.18 on SciPy passes vectors to all functions
TAKEN = ["any", "vectors"] + ["columns"] * (
    parse_version(scipy.__version__) < parse_version("1.18")
)
COMPOSITIONS = [unchanged, lambda A: 3 * A * (1 / 3), lambda A: A.H.H, lambda A: A.T.T]


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.float64, shapes, elements=whole_numbers),
    st.sampled_from(TAKEN),
    st.sampled_from(["float64", "float32"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(COMPOSITIONS),
)
def test_a_function_may_do_with_its_arrays_what_it_likes(A, taken, given, shared, spoils, composed):
    functions = (function(B, taken, given, shared, spoils) for B in (A, A.T))
    operator = composed(LinearOperator(A.shape, *functions, dtype=float))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_acts_as(as_operator(operator), A, tolerance=1e-12 if given == "float64" else 1e-6)
    assert not caught


def test_products_with_many_vectors_are_one_call():
    calls = []

    def product(x):
        calls.append(x.shape)
        return 2.0 * x

    functions = {"matvec": product, "rmatvec": product, "matmat": product, "rmatmat": product}
    operator = as_operator(LinearOperator((3, 3), **functions, dtype=float))
    operator.forward(np.ones((2, 3)))
    calls.clear()
    operator.forward(np.ones((500, 3)))
    assert calls == [(3, 500)]


def test_a_product_with_many_vectors_that_is_wrong_is_not_used():
    double = {"matvec": lambda x: 2.0 * x, "rmatvec": lambda x: 2.0 * x}
    wrong = {"matmat": lambda X: 2.0 * X[:, ::-1], "rmatmat": lambda X: X[:1]}
    assert_acts_as(
        as_operator(LinearOperator((3, 3), **double, **wrong, dtype=float)), 2 * np.eye(3)
    )


def test_a_wrong_adjoint_is_told_by_either_vector():
    def sometimes(y):
        return y if y[0] < 1 else -y  # right for one of the two vectors of the seed 0

    operator = LinearOperator((1, 1), matvec=lambda x: x, rmatvec=sometimes, dtype=float)
    with pytest.raises(ValueError, match="not the adjoint"):
        check_adjoint(operator, random_state=0)


@every
def test_estimators_take_functions_that_share_their_result(cls):
    A = np.array([[1.0, 0.3], [0.0, 0.5], [0.2, 0.2]])
    data = make_bimodal(100, operator=A, noise_level=0.1, random_state=0)
    functions = [function(B, "vectors", "float64", True, True) for B in (A, A.T)]
    operators = A, LinearOperator(A.shape, *functions, dtype=float)
    known, found = (
        cls(operator=operator, max_iter=3, random_state=0).fit(data.X, data.Y).predict(data.Y)
        for operator in operators
    )
    np.testing.assert_allclose(found, known, rtol=1e-6)


# --------------------------------------------------------------------------------------- complex


@pytest.fixture(scope="module")
def fitted(pairs):
    """An estimator with the identity as its operator."""
    return DivergenceRegularizedINN(operator=np.eye(2), max_iter=3).fit(*pairs)


COMPLEX = np.array([[1.0 + 1j, 0.5], [0.0, 2.0 - 1j], [1.0, 1j]])
real_signals = pytest.mark.filterwarnings("error:Casting complex values")
COMPLEX_OPERATORS = {
    "dense": COMPLEX,
    "single precision": COMPLEX.astype(np.complex64),
    "list": COMPLEX.tolist(),
    "zero imaginary part": COMPLEX.real + 0j,
    "frame": pd.DataFrame(COMPLEX),
    "tensor": torch.tensor(COMPLEX),
    "tensor with a gradient": torch.tensor(COMPLEX, requires_grad=True),
    "LinearOperator": aslinearoperator(COMPLEX),
    "declared": LinearOperator((3, 2), lambda x: x, lambda y: y, dtype=complex),
    "undeclared": LinearOperator(
        (3, 2), lambda x: COMPLEX @ x, lambda y: COMPLEX.conj().T @ y, dtype=float
    ),
    **{name: getattr(sparse, f"{name}_array")(COMPLEX) for name in FORMATS},
}


@real_signals
@pytest.mark.parametrize("form", COMPLEX_OPERATORS)
def test_complex_operators_are_refused(form, fitted, pairs):
    operator, X = COMPLEX_OPERATORS[form], pairs[0]
    prior, Y = GaussianMixturePrior(np.zeros((1, 2)), 1.0), np.zeros((4, 3))
    known = {"operator": operator, "noise_level": 0.1}
    for refused in (
        lambda: DivergenceRegularizedINN(operator=operator).fit(X, np.zeros((len(X), 3))),
        lambda: DivergenceRegularizedINN(operator=operator, noise_level=0.1).fit(X),
        lambda: fitted.adapt(operator=operator),
        lambda: check_adjoint(operator),
        lambda: posterior_mean(prior, Y, **known),
        lambda: map_estimate(prior, Y, **known),
        lambda: tweedie_gap(prior, Y, **known),
        lambda: sufficiency_gap(prior, Y, **known),
        lambda: make_bimodal(10, operator=operator),
    ):
        with pytest.raises(ValueError, match=r"operator must be.*Stack the real and the imaginary"):
            refused()


def test_complex_operators_of_pylops_are_refused(pairs):
    pylops = pytest.importorskip("pylops")
    with pytest.raises(ValueError, match="Stack the real"):
        DivergenceRegularizedINN(operator=pylops.signalprocessing.FFT(2)).fit(*pairs)


def test_what_the_message_says_of_complex_operators_works(rng):
    operator, m = aslinearoperator(COMPLEX), len(COMPLEX)
    stacked = LinearOperator(
        (2 * m, 2),
        matvec=lambda x: np.concatenate([(operator @ x).real, (operator @ x).imag]),
        rmatvec=lambda y: (operator.H @ (y[:m] + 1j * y[m:])).real,
        dtype=float,
    )
    assert_acts_as(as_operator(stacked), np.vstack([COMPLEX.real, COMPLEX.imag]))
    u, v = rng.standard_normal((2, 2))
    block = np.block([[COMPLEX.real, -COMPLEX.imag], [COMPLEX.imag, COMPLEX.real]])
    image = COMPLEX @ (u + 1j * v)
    np.testing.assert_allclose(block @ np.append(u, v), np.append(image.real, image.imag))


@real_signals
@pytest.mark.parametrize("wrap", [np.asarray, np.ndarray.tolist, pd.DataFrame, torch.tensor])
def test_complex_signals_and_measurements_are_refused(wrap, fitted, pairs):
    (X, Y), prior = pairs, GaussianMixturePrior(np.zeros((1, 2)), 1.0)
    new = DivergenceRegularizedINN(max_iter=1)
    regressor = Reconstructor(new).fit(Y, X)
    XC, YC = wrap(X + 0j), wrap(Y + 1j)
    for refused in (
        lambda: new.fit(XC, Y),
        lambda: new.fit(X, YC),
        lambda: DivergenceRegularizedINN(operator=np.eye(2), noise_level=1.0).fit(XC),
        lambda: fitted.partial_fit(X, YC),
        lambda: fitted.predict(YC),
        lambda: fitted.posterior_std(YC),
        lambda: fitted.transform(XC),
        lambda: fitted.inverse_transform(XC),
        lambda: fitted.score(XC, Y),
        lambda: regressor.fit(Y, XC),
        lambda: regressor.predict(YC),
        lambda: reconstruction_scorer()(fitted, XC, Y),
        lambda: posterior_mean(prior, YC, noise_level=0.1),
        lambda: tweedie_gap(prior, YC, noise_level=0.1),
        lambda: estimate_operator(XC, Y),
    ):
        with pytest.raises(ValueError, match=r"Complex data not supported.*np.hstack"):
            refused()


def test_an_operator_is_printed_by_its_shape():
    assert repr(as_operator(np.eye(40, 30))) == "<(40, 30) Operator>"
    assert repr(Operator(aslinearoperator(np.eye(4))).normal()) == "<(4, 4) Operator>"
