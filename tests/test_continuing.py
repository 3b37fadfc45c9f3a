"""Training in parts: warm starts, partial fits and early stopping, with MLPRegressor's meanings."""

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator
from sklearn.base import clone

from helpers import every, rmse
from skinvbayes import (
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import make_bimodal
from skinvbayes.networks.gradient import GradientBlock
from skinvbayes.oracles import posterior_mean

solvers = pytest.mark.parametrize("solver", ["lbfgs", "adam"])


# ----------------------------------------------------------------------------------- warm starts


@every
@solvers
def test_warm_start_continues(cls, solver, pairs):
    cold = cls(solver=solver, max_iter=10, random_state=0).fit(*pairs)
    warm = clone(cold).set_params(warm_start=True).fit(*pairs)
    np.testing.assert_array_equal(warm.predict(pairs[1]), cold.predict(pairs[1]))
    warm.set_params(max_iter=5).fit(*pairs)
    assert cold.n_iter_ < warm.n_iter_ <= cold.n_iter_ + 5
    assert len(warm.loss_curve_) == warm.n_iter_
    *before, first = warm.loss_curve_[: cold.n_iter_ + 1]
    assert before == cold.loss_curve_
    assert warm.loss_curve_[-1] < before[-1] + 0.1 * abs(before[-1])
    assert first <= before[-1] + 0.25 * abs(before[-1])


def test_warm_start_on_a_path_of_epsilon(pairs):
    """Each fit of the path starts from the last one's weights."""
    estimator = DivergenceRegularizedINN(0.2, max_iter=100, warm_start=True, random_state=0)
    estimator.fit(*pairs)
    warm = estimator.set_params(epsilon=0.19, max_iter=5).fit(*pairs)
    cold = DivergenceRegularizedINN(0.19, max_iter=5, random_state=0).fit(*pairs)
    assert warm.epsilon_ == 0.19
    assert warm.best_loss_ < cold.best_loss_


def test_warm_start_with_another_network_is_refused(pairs):
    estimator = DivergenceRegularizedINN(max_iter=2, warm_start=True).fit(*pairs)
    with pytest.raises(ValueError, match="Set warm_start=False, or keep them"):
        estimator.set_params(hidden_layer_sizes=9).fit(*pairs)
    with pytest.raises(ValueError, match="Set warm_start=False"):
        estimator.set_params(hidden_layer_sizes="auto").fit(np.hstack(pairs), np.hstack(pairs))


def test_warm_start_takes_up_another_operator_of_the_same_bounds(rng, monkeypatch):
    """The known part of a network without matrices is that of the operator given last."""
    monkeypatch.setattr(GradientBlock, "most_features_of_matrices", 299)
    X = rng.standard_normal((20, 300))
    first, second = np.eye(300)[:100], np.eye(300)[100:200]
    options = {"noise_level": 0.1, "max_iter": 1, "random_state": 0, "warm_start": True}
    estimator = DivergenceRegularizedINN(operator=aslinearoperator(first), **options)
    estimator.fit(X, X @ first.T)
    estimator.set_params(operator=aslinearoperator(second)).fit(X, X @ second.T)
    slopes = estimator.jacobian(X[:1])[0].diagonal()
    assert estimator.network_.knows_forward
    assert slopes[100:200].min() > slopes[:100].max()


def test_without_warm_start_fit_forgets(pairs):
    X, Y = pairs
    estimator = DivergenceRegularizedINN(max_iter=5, random_state=0).fit(X, Y)
    first = estimator.predict(Y)
    estimator.partial_fit(X, Y).fit(X, Y)
    np.testing.assert_array_equal(estimator.predict(Y), first)


# ----------------------------------------------------------------------------------- partial fits


@every
def test_partial_fit_is_one_pass(cls, pairs):
    estimator = cls(random_state=0, batch_size=50)
    for n in range(1, 4):
        assert estimator.partial_fit(*pairs) is estimator
        assert estimator.n_iter_ == len(estimator.loss_curve_) == n
    if cls is ReconstructionINN:  # it starts near its optimum, and 750 draws of noise are few
        assert estimator.loss_curve_[-1] < 1.2 * estimator.loss_curve_[0]
    else:
        assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    assert estimator.best_loss_ == min(estimator.loss_curve_)


@every
def test_partial_fit_after_fit_goes_on(cls, pairs):
    estimator = cls(max_iter=5, solver="adam", random_state=0).fit(*pairs)
    curve = estimator.loss_curve_
    estimator.partial_fit(*pairs)
    assert estimator.loss_curve_[:-1] == curve
    assert estimator.loss_curve_[-1] < curve[-1] + 0.1 * abs(curve[-1])


@every
@pytest.mark.parametrize("residual", ["gradient", "mlp"])
def test_partial_fit_on_the_pairs_of_fit_keeps_what_was_learned(cls, residual, rng):
    """Few signals with heavy tails, seen through a singular operator: steps are soon too long."""
    X, operator = rng.standard_normal((60, 8)) ** 3, rng.standard_normal((5, 8))
    Y = X @ operator.T + 0.1 * rng.standard_normal((60, 5))
    estimator = cls(operator=operator, residual=residual, max_iter=10, random_state=0).fit(X, Y)
    before = estimator.score(X, Y)
    for _ in range(3):
        assert estimator.partial_fit(X, Y).score(X, Y) > before - 0.02  # the loss is another


OPERATORS = [None, np.array([[1, 0.5], [0.2, 1], [0.3, 0.3]])]


@pytest.mark.parametrize("operator", OPERATORS)
@every
def test_many_passes_converge(cls, operator, pairs, rng):
    X, Y = (part[:100] for part in pairs)
    if operator is not None:
        Y = X @ operator.T + 0.3 * rng.standard_normal((len(X), 3))
    options = {"operator": operator, "random_state": 0}
    fitted = cls(max_iter=20, **options).fit(X, Y).score(X, Y)
    estimator, n = cls(**options), 5 if cls is ReconstructionINN else 40
    for _ in range(n - 3):
        estimator.partial_fit(X, Y)
    scores = [estimator.partial_fit(X, Y).score(X, Y) for _ in range(3)]
    assert np.ptp(scores) < 0.005
    assert scores[-1] > 0.98 * fitted


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_partial_fit_learns_a_stream(cls):
    """Data larger than memory: each pair is seen once or a few times, and learning goes on."""
    test = make_bimodal(2000, noise_level=0.4, random_state=1)
    baseline = rmse(posterior_mean(test.prior, test.Y, noise_level=0.4), test.X)
    estimator = cls(random_state=0, learning_rate_init=0.01)
    errors = []
    for seed in range(40):
        batch = make_bimodal(500, noise_level=0.4, random_state=100 + seed)
        estimator.partial_fit(batch.X, batch.Y)
        if seed in (0, 39):
            errors.append(rmse(estimator.predict(test.Y), test.X))
    first, last = errors
    assert last < 1.06 * baseline
    assert last < first or first < 1.02 * baseline


def test_partial_fit_at_another_image_shape(rng):
    """It trains the network of the copy, and leaves the original as it was."""
    options = {"residual": "conv", "kernel_size": 3, "noise_level": 0.1, "random_state": 0}
    X = rng.standard_normal((20, 36))
    estimator = DivergenceRegularizedINN(operator=np.eye(36), image_shape=(6, 6), **options)
    estimator.partial_fit(X, X)
    whole = estimator.adapt(image_shape=(7, 7), operator=np.eye(49))
    larger = rng.standard_normal((20, 49))
    before = estimator.predict(X), whole.predict(larger)
    whole.partial_fit(larger, larger)
    np.testing.assert_array_equal(estimator.predict(X), before[0])
    assert not np.array_equal(whole.predict(larger), before[1])


def test_partial_fit_keeps_the_problem_of_the_first_call(pairs):
    X, Y = pairs
    estimator = DivergenceRegularizedINN(random_state=0).partial_fit(X, Y)
    noise_level, epsilon = estimator.noise_level_, estimator.epsilon_
    estimator.partial_fit(X, X)
    assert (estimator.noise_level_, estimator.epsilon_) == (noise_level, epsilon)
    estimator.partial_fit(X[:1], Y[:1])  # one pair is enough to go on
    with pytest.raises(ValueError, match="3 features"):
        estimator.partial_fit(np.ones((5, 3)), Y[:5])
    with pytest.raises(ValueError, match="1 measurements"):
        estimator.partial_fit(X, Y[:, :1])
    with pytest.raises(ValueError, match="minimum of 2"):
        DivergenceRegularizedINN().partial_fit(X[:1], Y[:1])


def test_a_bad_pass_leaves_the_model_as_it_was(pairs):
    X, Y = pairs
    estimator = DivergenceRegularizedINN(batch_size=10, random_state=0).partial_fit(X, Y)
    before = estimator.predict(Y)
    with pytest.raises(ValueError, match="loss is not finite"):  # after some good batches
        estimator.partial_fit(np.vstack([X, 1e200 * X[:1]]), np.vstack([Y, Y[:1]]))
    np.testing.assert_array_equal(estimator.predict(Y), before)
    estimator.partial_fit(X, Y)
    assert np.isfinite(estimator.predict(Y)).all()


# --------------------------------------------------------------------------------- early stopping


@every
@solvers
def test_early_stopping_restores_the_best_weights(cls, solver, pairs):
    estimator = cls(
        solver=solver,
        early_stopping=True,
        n_iter_no_change=3,
        max_iter=100,
        random_state=0,
        learning_rate_init=0.05,
        validation_fraction=0.3,
    ).fit(*pairs)
    curve = estimator.validation_loss_curve_
    assert len(curve) == len(estimator.loss_curve_) == estimator.n_iter_ < 100
    stages = 2 if cls is LogDetRegularizedINN else 1
    last = curve[curve.index(estimator.best_loss_) :]
    assert estimator.best_loss_ == min(last) and (stages == 2 or min(last) == min(curve))
    annealing = 10 if solver == "adam" else 0  # a tenth of the iterations of a stage, at most
    assert len(last) - 1 <= 3 + annealing


def test_validation_fraction_is_set_aside(pairs):
    """What is set aside is not trained on: with most of the pairs there, few are left."""
    X, Y = pairs
    options = {"early_stopping": True, "max_iter": 40, "n_iter_no_change": 40, "random_state": 0}
    many = DivergenceRegularizedINN(validation_fraction=0.1, **options).fit(X, Y)
    few = DivergenceRegularizedINN(validation_fraction=0.97, **options).fit(X, Y)
    assert few.score(X, Y) < many.score(X, Y)


def test_tol_and_patience_decide_when_to_stop(pairs):
    options = {"early_stopping": True, "max_iter": 60, "random_state": 0, "solver": "adam"}
    patient = DivergenceRegularizedINN(n_iter_no_change=60, **options).fit(*pairs)
    strict = DivergenceRegularizedINN(n_iter_no_change=2, tol=0.5, **options).fit(*pairs)
    assert patient.n_iter_ == 60
    assert strict.n_iter_ <= 5 + 6  # and the annealing


@every
@solvers
def test_training_stops_when_the_loss_no_longer_falls(cls, solver, pairs):
    max_iter = 80

    def n_iter(tol, n_iter_no_change):
        options = {"solver": solver, "max_iter": max_iter, "random_state": 0, "residual": "mlp"}
        return cls(tol=tol, n_iter_no_change=n_iter_no_change, **options).fit(*pairs).n_iter_

    stages = 2 if staged(cls) else 1
    # of Adam the step size falls to zero within a tenth of a stage's iterations
    shares = {1: [1.0], 2: [0.5, 0.5] if solver == "lbfgs" else [0.75, 0.25]}[stages]
    ends = [0 if solver == "lbfgs" else np.ceil(int(max_iter * share) / 10) for share in shares]
    assert n_iter(10, 2) == 4 * stages + sum(ends)  # two twos are compared
    assert n_iter(10, 5) == 10 * stages + sum(ends)
    assert n_iter(0.1, 2) <= n_iter(0.01, 2) <= n_iter(1e-6, 2) <= max_iter
    assert n_iter(1e-6, 2) > 4


def staged(cls):
    """Whether training starts with another loss."""
    return cls().loss.first_stage is not None


def test_without_early_stopping_there_is_no_validation(pairs):
    estimator = DivergenceRegularizedINN(max_iter=2).fit(*pairs)
    assert estimator.validation_loss_curve_ is None
    assert estimator.best_loss_ == min(estimator.loss_curve_)
