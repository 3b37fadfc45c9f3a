"""Operators that are never a matrix: the network knows them, and learns the rest."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from helpers import ALL
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)
from skinvbayes.networks import IResNet
from skinvbayes.networks.gradient import GradientBlock
from skinvbayes.operators import GramOperator, Operator, as_operator
from skinvbayes.problem.tensor_operator import TensorOperator

D, M = 300, 200


class Averages(LinearOperator):
    """Means of neighbours, every pair of them once: known by products alone."""

    def __init__(self, n_features, n_measurements):
        super().__init__(np.float64, (n_measurements, n_features))

    def _matmat(self, X):
        return (X[: self.shape[0]] + X[1 : self.shape[0] + 1]) / 2

    def _rmatmat(self, Y):
        X = np.zeros((self.shape[1], Y.shape[1]))
        X[: len(Y)] += Y / 2
        X[1 : len(Y) + 1] += Y / 2
        return X

    def _matvec(self, x):
        return self._matmat(x.reshape(-1, 1))

    def _rmatvec(self, y):
        return self._rmatmat(y.reshape(-1, 1))


def sparse_averages(n_features, n_measurements):
    ones = np.full(n_measurements, 0.5)
    return csr_array(diags_array([ones, ones], offsets=[0, 1], shape=(n_measurements, n_features)))


OPERATORS = {
    "products": Averages(D, M),
    "sparse": sparse_averages(D, M),
    "matrix": sparse_averages(D, M).toarray(),
}


def steps(n, n_features, rng):
    """Signals with few steps, of mean zero."""
    jumps = rng.standard_normal((n, n_features)) * (rng.uniform(size=(n, n_features)) < 0.03)
    X = jumps.cumsum(axis=1)
    return X - X.mean(axis=1, keepdims=True)


def pairs(n, rng, noise_level=0.2):
    X = steps(n, D, rng)
    clean = X @ sparse_averages(D, M).toarray().T
    return X, clean + noise_level * rng.standard_normal(clean.shape)


@pytest.fixture(autouse=True)
def _few_features_of_matrices(monkeypatch):
    """As for more than 1,000 features, in less time."""
    monkeypatch.setattr(GradientBlock, "most_features_of_matrices", 256)


@pytest.fixture(scope="module")
def data():
    return pairs(150, np.random.RandomState(0))


@pytest.fixture
def no_matrices(monkeypatch):
    """Matrices of features by features are refused; torch's are looked for by their size."""

    def refuse(self):
        raise AssertionError("a matrix was formed")

    for cls in (Operator, GramOperator):
        monkeypatch.setattr(cls, "to_dense", refuse)
    monkeypatch.setattr("skinvbayes.operators.linear._DENSE_SIZE", 0)
    monkeypatch.setattr("skinvbayes.operators.linear.MATRIX_FEATURES", 0)
    eye = torch.eye

    def small_eye(n, *args, **kwargs):
        assert n < D, "an identity of features by features was formed"
        return eye(n, *args, **kwargs)

    monkeypatch.setattr(torch, "eye", small_eye)


OPTIONS = dict(
    operator=Averages(D, M), noise_level=0.2, hidden_layer_sizes=30, max_iter=8, random_state=0
)


@pytest.mark.parametrize("cls", [ApproximationINN, DivergenceRegularizedINN, ReconstructionINN])
def test_no_matrix_is_formed(cls, data, no_matrices):
    estimator = cls(**OPTIONS).fit(*data)
    X, Y = pairs(4, np.random.RandomState(1))
    found, std = estimator.predict(Y)[:2], estimator.posterior_std(Y[:1], method="probing")
    assert found.shape == (2, D) and (std > 0).all()
    estimator.sample_posterior(Y[:1], 2, method="probing", random_state=0)
    estimator.score(X, Y), estimator.prior_term(X)
    pickle.loads(pickle.dumps(estimator)).transform(X)
    assert not any(p.numel() >= D * D for p in estimator.network_.parameters())


@pytest.mark.parametrize("kind", OPERATORS)
def test_all_kinds_of_operators_give_the_same(kind, data):
    """To what rounding becomes in the course of training."""
    options = {**OPTIONS, "max_iter": 2}
    first = DivergenceRegularizedINN(**options).fit(*data)
    other = DivergenceRegularizedINN(**options).set_params(operator=OPERATORS[kind]).fit(*data)
    assert other.prior_bandwidth_ == pytest.approx(first.prior_bandwidth_, rel=1e-6)
    expected = first.predict(data[1][:5])
    np.testing.assert_allclose(other.predict(data[1][:5]), expected, rtol=0, atol=2e-2)


def test_the_inverse_inverts(data):
    estimator = DivergenceRegularizedINN(**OPTIONS).fit(*data)
    X = pairs(5, np.random.RandomState(2))[0]
    Z = estimator.transform(X)
    found = estimator.inverse_transform(Z)
    np.testing.assert_allclose(found, X, atol=1e-5)
    residual = np.linalg.norm(estimator.transform(found) - Z, axis=1)
    assert residual.max() <= 1e-7 * np.linalg.norm(Z, axis=1).max()


def test_reconstruction_beats_tikhonov(data):
    """The best Tikhonov regularisation in hindsight, on signals with steps."""
    X, Y = pairs(60, np.random.RandomState(3))
    A = sparse_averages(D, M).toarray()
    errors = []
    for alpha in 0.04 * 2.0 ** np.arange(-6, 7):
        found = np.linalg.solve(A.T @ A + alpha * np.eye(D), A.T @ Y.T).T
        errors.append(((found - X) ** 2).mean())
    estimator = ReconstructionINN(**{**OPTIONS, "max_iter": 20}).fit(*data)
    assert ((estimator.predict(Y) - X) ** 2).mean() < min(errors)


def test_loss_is_that_of_the_whole_map(data):
    """What drops out in training is there again in the loss that is reported."""
    X, Y = data
    estimator = DivergenceRegularizedINN(**OPTIONS)
    estimator.set_params(prior_bandwidth=0.0, learning_rate_init=3e-3).fit(X, Y)
    A = sparse_averages(D, M).toarray()
    Z = X @ A.T @ A
    Z += (Y @ A - Z).mean(axis=0)
    divergence = np.trace(estimator.jacobian(X), axis1=1, axis2=2)
    half_square = ((estimator.transform(X) - Z) ** 2).sum(axis=1) / 2
    norm = estimator.problem_.coordinates.isotropic_norm  # the metric of the square is P⁻¹
    loss = (half_square - estimator.epsilon_ * divergence).mean() / norm
    left_out = estimator.epsilon_ * np.trace(A.T @ A) / norm
    assert estimator.loss_curve_[-1] == pytest.approx(loss, abs=0.5 * left_out)


def test_another_noise_level(data):
    """For the weight r: G x + r (φ(x) − G x), here monotone for every r, as λ_min(G) is 0."""
    estimator = DivergenceRegularizedINN(**OPTIONS).fit(*data)
    A = sparse_averages(D, M).toarray()
    Y = data[1][:3]
    for level in (0.1, 0.5):
        found = estimator.predict(Y, noise_level=level)
        ratio = level**2 / estimator.epsilon_
        linear = estimator.problem_.forward_targets(found)
        assert level < 0.2 or estimator._map(level).network.surely_monotone()
        residual = linear + ratio * (estimator.transform(found) - linear) - Y @ A
        assert np.abs(residual).max() < 1e-4


def test_log_determinant(data):
    """It needs matrices, and forms them."""
    X, Y = data
    estimator = LogDetRegularizedINN(**{**OPTIONS, "max_iter": 2}).fit(X, Y)
    assert estimator.predict(Y[:2]).shape == (2, D)


def test_search_and_reconstructor(data):
    X, Y = data
    estimator = DivergenceRegularizedINN(**{**OPTIONS, "max_iter": 2})
    search = GridSearchCV(estimator, {"epsilon": [1e-3, 4e-2]}, cv=2).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert Reconstructor(clone(estimator)).fit(Y, X).predict(Y[:2]).shape == (2, D)


def test_pylops(data):
    pylops = pytest.importorskip("pylops")
    X, _ = data
    blur = pylops.Smoothing1D(5, D)
    Y = X @ blur.T.todense() + 0.1 * np.random.RandomState(0).standard_normal(X.shape)
    options = {**OPTIONS, "operator": blur, "noise_level": "auto", "max_iter": 2}
    estimator = DivergenceRegularizedINN(**options).fit(X, Y)
    assert estimator.noise_level_ == pytest.approx(0.1, rel=0.05)
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict(Y[:2]), estimator.predict(Y[:2]))


def test_a_wrong_adjoint_is_noticed(data):
    shift = LinearOperator((D, D), lambda x: np.roll(x, 1), lambda y: np.roll(y, 1))
    with pytest.raises(ValueError, match="is not the adjoint"):
        DivergenceRegularizedINN(operator=shift).fit(data[0], data[0])


def test_few_pairs_say_little(recwarn):
    """Fewer pairs than features: the noise cannot be told, and is said so; monotone it may be."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((20, 40))
    Y = X + 0.5 * rng.standard_normal(X.shape)
    with pytest.warns(UserWarning, match="noise level cannot be told from 20 pairs"):
        DivergenceRegularizedINN(max_iter=1, random_state=0).fit(X, Y)
    DivergenceRegularizedINN(max_iter=1, noise_level=0.5, random_state=0).fit(X, Y)
    assert not any("monotone" in str(warning.message) for warning in recwarn)
    with pytest.warns(UserWarning, match="not close to symmetric"):
        DivergenceRegularizedINN(max_iter=1, noise_level=0.5, random_state=0).fit(X, -Y)


# ------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.3, 1.0)])
def test_bounds_hold_for_the_whole(bounds):
    """Known parts at both ends of the bounds, weights that push against L."""
    n = 270
    known = TensorOperator(as_operator(np.diag(np.linspace(*bounds, n))), 1.0)
    sizes = {"hidden_layer_sizes": (40,), "lipschitz": 0.9}
    network = IResNet(n, known=known, known_bounds=bounds, **sizes).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    x = 3 * torch.randn(3, n, generator=generator, dtype=torch.float64)
    J = network.jacobian(x)
    exact = torch.autograd.functional.jacobian(lambda row: network(row[None])[0], x[0])
    torch.testing.assert_close(J[0], exact, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(network.divergence(x), J.diagonal(dim1=1, dim2=2).sum(1))
    spectrum = torch.linalg.eigvalsh(J)
    a, b = network.blocks[0].bounds()
    assert a <= spectrum.min() and spectrum.max() <= b
    assert network.lipschitz() <= 0.9


def test_forward_term_has_its_derivative():
    rng = np.random.RandomState(0)
    A = rng.standard_normal((4, 6))
    x = torch.from_numpy(rng.standard_normal((3, 6))).requires_grad_()
    for forward in (GramOperator(aslinearoperator(A)), as_operator(rng.standard_normal((6, 6)))):
        term = TensorOperator(forward, 2.0)
        torch.autograd.gradcheck(term, x, atol=1e-5)
        expected = forward.to_dense() @ x.detach().numpy().T / 2
        np.testing.assert_allclose(term(x).detach(), expected.T, rtol=1e-5)


# ---------------------------------------------------------------------------------- the operators


@pytest.mark.parametrize("kind", OPERATORS)
def test_gram_operator(kind):
    A = sparse_averages(D, M).toarray()
    gram = GramOperator(as_operator(OPERATORS[kind]).base)
    x = np.random.RandomState(0).standard_normal((2, D))
    np.testing.assert_allclose(gram.forward(x), x @ A.T @ A, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gram.to_dense(), A.T @ A, atol=1e-12)
    assert gram.shape == (D, D)
    assert gram.norm() == pytest.approx(np.linalg.norm(A, 2) ** 2, rel=1e-9)
    exact = np.trace(A.T @ A)
    assert gram.trace() == pytest.approx(exact, rel=0.1 if kind == "products" else 1e-12)


@pytest.mark.parametrize("lowest", [0.0, 0.5, 1.0])
def test_lowest_is_a_lower_bound(lowest):
    root = np.sqrt(np.linspace(lowest, 1, 80))
    gram = GramOperator(aslinearoperator(np.diag(root)))
    assert max(0, lowest - 2e-3) <= gram.lowest(1.0) <= lowest


@pytest.mark.parametrize("cls", ALL)
def test_a_known_operator_changes_the_way_and_not_the_optimum(cls, monkeypatch):
    """With the operator as a part of the network, each loss has the same optimum."""
    rng = np.random.RandomState(0)
    A = rng.standard_normal((9, 6)) / 4
    X = rng.standard_normal((1000, 6)) * np.linspace(0.7, 1.3, 6)
    Y = X @ A.T + 0.3 * rng.standard_normal((1000, 9))
    found = []
    for most_features in (256, 2):
        monkeypatch.setattr(GradientBlock, "most_features_of_matrices", most_features)
        estimator = cls(operator=A, noise_level=0.3, max_iter=60, random_state=0)
        if cls is LogDetRegularizedINN:  # the natural metric is not the same without matrices
            estimator.set_params(metric="euclidean")
        estimator.fit(X, Y)
        assert estimator.network_.knows_forward == (most_features == 2)
        found.append(estimator.transform(X[:100]))
    dense, known = found
    assert np.abs(known - dense).max() < 0.05 * np.abs(dense).max()
