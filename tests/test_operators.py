"""Operators on rows, their norms and adjoints, and their estimation from pairs."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.utils import check_random_state

from skinvbayes.operators import (
    Operator,
    as_operator,
    check_adjoint,
    estimate_operator,
    linear,
)
from skinvbayes.operators.rows import common_rows

MATRIX = np.random.RandomState(5).standard_normal((3, 5))
ROUNDING = 1e-13  # entries of a few units, sums of at most 15 products: a hundred times the error


class Duck:
    """No LinearOperator, but with all that one needs."""

    def __init__(self, matrix):
        self.matrix, self.shape = matrix, matrix.shape

    def matvec(self, x):
        return self.matrix @ x

    def rmatvec(self, y):
        return self.matrix.T @ y


def matrix_free(matrix, adjoint=None):
    adjoint = matrix.T if adjoint is None else adjoint
    return LinearOperator(
        matrix.shape, matvec=lambda x: matrix @ x, rmatvec=lambda y: adjoint @ y, dtype=matrix.dtype
    )


FORMS = {
    "ndarray": np.array,
    "fortran order": np.asfortranarray,
    "list": lambda A: A.tolist(),
    "tuple": lambda A: tuple(map(tuple, A)),
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "coo_array": sparse.coo_array,
    "aslinearoperator": aslinearoperator,
    "matrix-free": matrix_free,
    "duck": Duck,
    "Operator": lambda A: Operator(aslinearoperator(A)),
}
every_form = pytest.mark.parametrize("form", FORMS)
every_shape = pytest.mark.parametrize("A", [MATRIX, MATRIX.T, MATRIX[:, :3]], ids=lambda A: A.shape)


def close(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ROUNDING)


# ------------------------------------------------------------------------------- actions on rows


@every_form
@every_shape
@pytest.mark.parametrize("n_samples", [1, 4])
def test_actions_on_rows_match_the_matrix(form, A, n_samples, rng):
    operator = as_operator(FORMS[form](A))
    X = rng.standard_normal((n_samples, A.shape[1]))
    Y = rng.standard_normal((n_samples, A.shape[0]))
    assert isinstance(operator, Operator)
    assert operator.shape == A.shape
    close(operator.forward(X), X @ A.T)
    close(operator.adjoint(Y), Y @ A)
    close(operator.gram(X), X @ A.T @ A)


@every_form
@every_shape
def test_matrix_and_norm(form, A):
    operator = as_operator(FORMS[form](A))
    dense = operator.to_dense()
    assert type(dense) is np.ndarray
    close(dense, A)
    assert isinstance(operator.norm(), float)
    assert operator.norm() == pytest.approx(np.linalg.norm(A, 2), rel=1e-13)


def test_rows_may_be_lists():
    operator = as_operator(MATRIX)
    close(operator.forward([[1, 0, 0, 0, 0]]), MATRIX[:, :1].T)
    close(operator.adjoint([[0, 1, 0], [0, 0, 1]]), MATRIX[1:])


@pytest.mark.parametrize("form", [np.array, sparse.csr_array, lambda A: A.tolist()])
def test_integer_matrices(form):
    A = np.arange(6).reshape(2, 3)
    operator = as_operator(form(A))
    close(operator.forward([[0.5, 0.25, 1.0]]), np.array([[2.25, 7.5]]))
    assert operator.norm() == pytest.approx(np.linalg.norm(A, 2), rel=1e-13)


def test_an_operator_is_passed_through():
    operator = as_operator(MATRIX)
    assert as_operator(operator) is operator


@every_form
def test_inputs_are_not_modified(form, rng):
    given = FORMS[form](MATRIX)
    X, Y = rng.standard_normal((4, 5)), rng.standard_normal((4, 3))
    originals = MATRIX.copy(), X.copy(), Y.copy()
    operator = as_operator(given)
    operator.forward(X), operator.adjoint(Y), operator.gram(X), operator.to_dense(), operator.norm()
    check_adjoint(given, random_state=0)
    estimate_operator(X, Y)
    for value, original in zip((MATRIX, X, Y), originals, strict=True):
        assert np.array_equal(value, original)
    assert np.array_equal(as_operator(given).to_dense(), MATRIX)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "operator",
    ["blur", object(), None, 3.0, {"A": MATRIX}],
    ids=lambda operator: type(operator).__name__,
)
def test_what_is_no_operator(operator):
    name = type(operator).__name__
    with pytest.raises(TypeError, match=f"operator must be a matrix.*got {name}"):
        as_operator(operator)


BAD_MATRICES = {
    "NaN": ([[1.0, np.nan]], "NaN"),
    "infinity": (np.array([[1.0, np.inf]]), "infinity"),
    "one-dimensional": (np.ones(3), r"\(3,\)"),
    "one-dimensional list": ([1.0, 2.0], r"\(2,\)"),
    "three-dimensional": (np.ones((2, 1, 2)), r"\(2, 1, 2\)"),
    "no rows": (np.ones((0, 2)), r"\(0, 2\)"),
    "no columns": ([[]], r"\(1, 0\)"),
    "ragged": ([[1.0], [1.0, 2.0]], "real numbers"),
    "text": ([["a", "b"]], "real numbers"),
    "complex": ([[1j, 1.0]], "real numbers"),
}


@pytest.mark.parametrize("case", BAD_MATRICES)
def test_what_is_no_finite_real_matrix(case):
    matrix, message = BAD_MATRICES[case]
    with pytest.raises(ValueError, match=f"operator.*{message}"):
        as_operator(matrix)


# ------------------------------------------------------------------------------------------ norm


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (2, 2), (40, 25)])
@pytest.mark.parametrize("form", ["ndarray", "csr_array", "matrix-free"])
def test_norm_by_lanczos(shape, form, rng, monkeypatch):
    A = rng.standard_normal(shape)
    operator = as_operator(FORMS[form](A))
    monkeypatch.setattr(linear, "_DENSE_SIZE", 0)
    monkeypatch.setattr(Operator, "to_dense", None)  # no matrix may be formed
    # Lanczos runs to machine precision, on AᵀA
    assert operator.norm() == pytest.approx(np.linalg.norm(A, 2), rel=1e-12)


def test_norm_of_a_large_operator_never_forms_its_matrix(monkeypatch):
    diagonal = np.append(np.linspace(-1, 1, 2999), -2.0)
    operator = as_operator(matrix_free(sparse.diags_array(diagonal).tocsr()))
    monkeypatch.setattr(Operator, "to_dense", None)
    stream = check_random_state(None).get_state()[1].copy()
    assert operator.norm() == pytest.approx(2.0, rel=1e-12)
    assert operator.norm() == operator.norm()
    assert np.array_equal(stream, check_random_state(None).get_state()[1])


# ------------------------------------------------------------------------------------ estimation


def largest_ridge(X):
    """The largest of the n α D² of the docstring."""
    return len(X) * 1e-8 * X.var(axis=0).max()


@every_shape
def test_noise_free_pairs_give_the_operator(A, rng):
    X = rng.standard_normal((200, A.shape[1])) * np.linspace(0.5, 2, A.shape[1]) + 5.0
    Y = X @ A.T - 3.0
    estimate = estimate_operator(X, Y)
    smallest = np.linalg.eigvalsh(len(X) * np.cov(X.T, bias=True))[0]
    bias = np.linalg.norm(A, 2) * largest_ridge(X) / smallest  # of the ridge, an upper bound
    assert isinstance(estimate, Operator)
    assert estimate.shape == A.shape
    assert np.linalg.norm(estimate.to_dense() - A, 2) <= bias + ROUNDING
    assert bias < 1e-6


@pytest.mark.parametrize("alpha", [0.0, 1e-8, 0.1, 3.0])
def test_estimate_is_the_ridge_minimiser(alpha, rng):
    X = rng.standard_normal((30, 4)) @ rng.standard_normal((4, 4)) + 2.0
    Y = rng.standard_normal((30, 3)) - 1.0
    penalty = np.sqrt(len(X) * alpha) * np.diag(X.std(axis=0))
    rows = np.vstack([X - X.mean(axis=0), penalty])
    targets = np.vstack([Y - Y.mean(axis=0), np.zeros((4, 3))])
    expected, _, _, singular = np.linalg.lstsq(rows, targets, rcond=None)
    condition = (singular[0] / singular[-1]) ** 2  # of the normal equations
    estimate = estimate_operator(X, Y, alpha=alpha).to_dense()
    atol = 1e-14 * condition * np.abs(expected).max()
    np.testing.assert_allclose(estimate, expected.T, rtol=0, atol=atol)
    assert condition < 1e5


def test_estimate_follows_the_units(rng):
    """Those of every feature and of every measurement."""
    X, Y = rng.standard_normal((50, 4)), rng.standard_normal((50, 3))
    expected = estimate_operator(X, Y, alpha=0.1).to_dense()
    units, others = np.logspace(-8, 12, 4), np.logspace(-4, 4, 3)
    actual = estimate_operator(units * X, others * Y, alpha=0.1).to_dense()
    np.testing.assert_allclose(actual, others[:, None] * expected / units, rtol=1e-11)


def test_constant_coordinates_get_no_weight(rng):
    X = rng.standard_normal((100, 5))
    X[:, 1], X[:, 3] = 0.1, 0.0
    Y = X @ MATRIX.T + 1.0
    estimate = estimate_operator(X, Y).to_dense()
    expected = MATRIX * [1, 0, 1, 0, 1]
    varying = X[:, [0, 2, 4]]
    smallest = np.linalg.eigvalsh(len(X) * np.cov(varying.T, bias=True))[0]
    bias = np.linalg.norm(MATRIX, 2) * largest_ridge(X) / smallest
    assert np.linalg.norm(estimate - expected, 2) <= bias + ROUNDING
    assert bias < 1e-6


@pytest.mark.parametrize("n_samples", [2, 3, 4])
def test_fewer_pairs_than_features(n_samples, rng):
    X = rng.standard_normal((n_samples, 5))
    Y = X @ MATRIX.T + 1.0
    estimate = estimate_operator(X, Y).to_dense()
    signals = (X - X.mean(axis=0)) / X.std(axis=0)
    unit = MATRIX * X.std(axis=0)
    unit = unit @ np.linalg.pinv(signals, rcond=1e-10) @ signals  # of smallest norm
    expected = unit / X.std(axis=0)
    smallest = np.linalg.svd(signals)[1][n_samples - 2] ** 2
    bias = np.linalg.norm(MATRIX, 2) * 1e-8 * len(X) / smallest / X.std(axis=0).min()
    # a condition number of about 1/α loses half of the digits
    assert np.linalg.norm(estimate - expected, 2) <= bias + 1e-6 * np.linalg.norm(MATRIX, 2)
    assert bias < 1e-5


@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_one_pair_gives_the_zero_operator(rng):
    estimate = estimate_operator(rng.standard_normal((1, 5)), rng.standard_normal((1, 3)))
    assert np.array_equal(estimate.to_dense(), np.zeros((3, 5)))


# ----------------------------------------------------------------------------------- the dot test


@every_form
@every_shape
def test_right_adjoints_pass(form, A):
    for seed in range(5):
        assert check_adjoint(FORMS[form](A), random_state=seed) is None


def test_right_adjoint_in_single_precision_passes(rng):
    A = rng.standard_normal((300, 400)).astype(np.float32)
    check_adjoint(sparse.csr_array(A), random_state=0)


def test_zero_operator_passes():
    check_adjoint(np.zeros((3, 2)), random_state=0)


WRONG = {
    "doubled": 2 * MATRIX.T,
    "negated": -MATRIX.T,
    "off by a thousandth": 1.001 * MATRIX.T,
    "zero": 0 * MATRIX.T,
    "one entry": MATRIX.T + 0.1 * np.eye(5, 3, k=-1),
    "NaN": np.nan * MATRIX.T,
}


class FixedRows(np.random.RandomState):
    """A source of given rows."""

    def __init__(self, *rows):
        super().__init__(0)
        self.rows = iter(rows)

    def standard_normal(self, shape):
        return next(self.rows).reshape(shape)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_adjoints_fail_with_both_inner_products(case):
    u, v = (np.random.RandomState(0).standard_normal((2, n)) for n in MATRIX.shape[::-1])
    with pytest.raises(ValueError, match="not the adjoint") as error:
        check_adjoint(matrix_free(MATRIX, WRONG[case]), random_state=FixedRows(u, v))
    left, right = MATRIX @ u[0] @ v[0], u[0] @ (WRONG[case] @ v[0])
    assert f"= {left:.6g} but" in str(error.value)
    assert f"= {right:.6g}." in str(error.value)


def test_tolerance_of_the_dot_test():
    slightly_wrong = matrix_free(MATRIX, 1.001 * MATRIX.T)
    check_adjoint(slightly_wrong, random_state=0, rtol=1e-2)
    check_adjoint(matrix_free(MATRIX, (1 + 1e-9) * MATRIX.T), random_state=0)
    with pytest.raises(ValueError, match="not the adjoint"):
        check_adjoint(matrix_free(MATRIX, (1 + 1e-9) * MATRIX.T), random_state=0, rtol=1e-12)


@pytest.mark.parametrize("matrix", [np.ones((1, 5)), np.ones((5, 1)), np.zeros((3, 4))], ids=str)
def test_lanczos_norm_of_degenerate_operators(matrix, monkeypatch):
    monkeypatch.setattr(linear, "_DENSE_SIZE", 0)
    assert as_operator(matrix).norm() == pytest.approx(np.linalg.norm(matrix, 2))


def test_complex_and_infinite_operators_are_refused():
    with pytest.raises(ValueError, match="real numbers"):
        as_operator(np.array([[1j, 2]]))
    with pytest.raises(ValueError, match="operator contains NaN"):
        as_operator(sparse.csr_array([[np.nan, 1.0]]))


def test_constant_signals_give_the_zero_operator():
    measurements = np.random.RandomState(0).standard_normal((7, 3))
    assert not estimate_operator(np.full((7, 2), 0.1), measurements).to_dense().any()


def test_an_operator_without_adjoint_is_said():
    with pytest.raises(ValueError, match="has no adjoint: define matvec and rmatvec"):
        check_adjoint(LinearOperator((2, 2), matvec=lambda x: x))


def test_weights_count_pairs():
    rng = np.random.RandomState(0)
    X, Y, weight = rng.standard_normal((9, 2)), rng.standard_normal((9, 3)), np.arange(9)
    weighted = estimate_operator(X, Y, sample_weight=weight).to_dense()
    repeated = estimate_operator(X.repeat(weight, 0), Y.repeat(weight, 0)).to_dense()
    np.testing.assert_allclose(weighted, repeated)


# --------------------------------------------------------------------------- rows in common


@pytest.mark.parametrize("wrap", [np.asarray, sparse.csr_array])
def test_rows_in_common(wrap):
    A = np.array([[1.0, 0, 2], [0, 0, 0], [0, -0.0, 0], [3, 4, 5]])
    found = common_rows(as_operator(wrap(A[[3, 1, 1, 1, 0]])), as_operator(A))
    assert found.tolist() == [3, 1, 2, 2, 0]
    assert common_rows(as_operator(A[:, ::-1]), as_operator(wrap(A))).tolist() == [-1, 1, 2, -1]
    assert common_rows(as_operator(A[3:] + 1e-15), as_operator(A)) is None


def test_functions_have_rows_in_common_with_themselves_alone():
    A = np.eye(3)
    function, other = aslinearoperator(2 * A), aslinearoperator(2 * A)
    assert common_rows(as_operator(function), as_operator(function)).tolist() == [0, 1, 2]
    for operator in (other, 2 * A, None, lambda x: x):
        other = operator if operator is None or callable(operator) else as_operator(operator)
        assert common_rows(as_operator(function), other) is None
