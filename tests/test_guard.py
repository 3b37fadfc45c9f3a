"""Never worse than the linear estimator, and training that ends where it should."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from helpers import rmse
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_bimodal, make_ill_posed, make_mixture
from skinvbayes.inference.posterior import interval_factor
from skinvbayes.inversion import invert
from skinvbayes.oracles import posterior_mean
from skinvbayes.problem.error_quantiles import ErrorQuantiles
from skinvbayes.problem.gaussian import linear_estimator
from skinvbayes.problem.measurement import residuals_are_white
from skinvbayes.problem.shrinkage import shrunk_covariance
from skinvbayes.training import trial
from skinvbayes.training.adam import Adam, Annealing
from skinvbayes.training.guard import best_share, blend, linear_errors
from skinvbayes.training.held_out_errors import HeldOutErrors, warn_of_small_deviations
from skinvbayes.training.mean_loss import Objective
from skinvbayes.training.optimize import History
from skinvbayes.training.specification import Pairs


def lmmse(data, noise_level):
    X = data.X_train
    return linear_estimator(X.mean(axis=0), np.cov(X.T, bias=True), data.operator, noise_level)


# --------------------------------------------------------------------------- against the linear one


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
@pytest.mark.parametrize("kind", ["phillips", "abel"])
def test_never_worse_than_the_linear_estimator(cls, kind):
    data = make_ill_posed(kind, 600, 500, n_features=32, random_state=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is the linear one
        estimator = cls(operator=data.operator, max_iter=30, random_state=0)
        estimator.fit(data.X_train, data.Y_train)
    linear = lmmse(data, data.noise_level)(data.Y_test)
    assert rmse(estimator.predict(data.Y_test), data.X_test) <= 1.01 * rmse(linear, data.X_test)
    lower, upper = estimator.posterior_interval(data.Y_test)
    assert 0.85 < ((lower <= data.X_test) & (data.X_test <= upper)).mean() < 0.95


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
@pytest.mark.parametrize("exponents", [(-4, 4), (-8, 6)])
def test_features_may_have_very_different_units(cls, exponents):
    """Each is reconstructed as well as by the linear estimator in equal units, or better."""
    data = make_mixture(600, 500, n_features=4, operator="tall", random_state=0)
    units = np.logspace(*exponents, 4)
    operator = np.column_stack([data.operator / units, data.operator[:, 0]])
    X = np.column_stack([data.X_train * units, np.full(600, 0.1)])  # and one that is constant
    estimator = cls(operator=operator, max_iter=40, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = estimator.fit(X, data.Y_train + 0.1 * operator[:, 4]).predict(
            data.Y_test + 0.1 * operator[:, 4]
        )
    assert np.abs(found[:, 4] - 0.1).max() < 0.01
    found = found[:, :4] / units
    linear = lmmse(data, data.noise_level)(data.Y_test)
    errors = (np.mean((estimate - data.X_test) ** 2, axis=0) for estimate in (found, linear))
    assert (np.divide(*errors) < 1.1).all()


@pytest.mark.parametrize("factor", [100.0, 1e4])
def test_measured_features_may_have_very_different_units(factor):
    """Each with its own noise, and without an operator."""
    data = make_mixture(600, 500, n_features=3, operator="identity", random_state=0)
    units = np.array([1 / factor, 1.0, factor])
    estimator = DivergenceRegularizedINN(max_iter=30, random_state=0)
    with pytest.warns(UserWarning, match="noise of the measurements is unequal"):
        estimator.fit(data.X_train * units, data.Y_train * units)
    found = estimator.predict(data.Y_test * units) / units
    linear = lmmse(data, data.noise_level)(data.Y_test)
    errors = (np.mean((estimate - data.X_test) ** 2, axis=0) for estimate in (found, linear))
    assert (np.divide(*errors) < 1.0).all()


def test_what_cannot_beat_the_linear_estimator_is_that_estimator(rng):
    X = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))
    A = rng.standard_normal((4, 6))
    Y = X @ A.T + 0.5 * rng.standard_normal((300, 4))
    estimator = ReconstructionINN(operator=A, noise_level=0.5, max_iter=60, random_state=0)
    with pytest.warns(UserWarning, match="so fit returns that estimator"):
        estimator.fit(X, Y)
    linear = linear_estimator(X.mean(axis=0), np.cov(X.T, bias=True), A, 0.5)
    # the offset is that of the pairs' mean measurement
    difference = estimator.predict(Y) - linear(Y - Y.mean(axis=0) + A @ X.mean(axis=0))
    assert np.abs(difference).max() < 1e-4 * np.abs(X).max()
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 1
    estimator.partial_fit(X, Y)  # training can go on
    assert np.isfinite(estimator.predict(Y)).all()


@pytest.mark.parametrize(
    "n, standard_errors, share, n_iter",
    [
        (800, [-0.5], 0, 1),
        (800, [0.5, 0.5, 0.5], 0, 9),
        (800, [0.5, -2.0], 0, 1),
        (800, [0.5, 4.0], 0, 25),
        (800, [2.0], 0, 25),
        (800, [2.0], 0.3, 9),
        (300, [2.0, 2.0, 2.0], 0, 25),
        (300, [2.0, -0.5, -2.0], 0, 1),
        (300, [3.5], 0, 25),
        (300, [2.0], 1.0, 1),
    ],
)
def test_chance_decides_no_trial(n, standard_errors, share, n_iter, monkeypatch, rng):
    """After doubtful gains other pairs are tried, and training is short.

    Longer training may learn the pairs by heart, and nothing judges it. Of few held-out pairs a
    gain of two standard errors is doubtful, unless the linear estimator is taken anyway.
    """
    tried = iter(standard_errors)

    def errors_with_gain(network, problem, X, Z, shares):
        gains = rng.standard_normal(len(X))
        gains = gains - gains.mean() + next(tried) * gains.std() / np.sqrt(len(X))
        return [linear_errors(problem, X, Z) - gains for _ in shares]

    monkeypatch.setattr("skinvbayes.training.trial.reconstruction_errors", errors_with_gain)
    monkeypatch.setattr("skinvbayes.training.trial.share_of_linear", lambda *_: share)
    data = make_mixture(n, 1, n_features=2, operator="tall", random_state=0)
    options = {"prior_bandwidth": 0.0, "max_iter": 25, "random_state": 0}
    estimator = ReconstructionINN(operator=data.operator, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(data.X_train, data.Y_train)
    assert estimator.n_iter_ == n_iter
    assert next(tried, None) is None


@pytest.mark.parametrize("bandwidth, share", [(0.3, 0.5), ("auto", 0.0)])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_share_of_a_trial_holds_for_signals_and_not_for_draws(
    solver, bandwidth, share, monkeypatch
):
    """Of signals that training learns by heart it would choose none: intervals then covered 83 %.

    Nobody learns draws by heart. L-BFGS learns so much of them in a trial that its share holds.
    """
    module, shares = "skinvbayes.training", []
    monkeypatch.setattr(f"{module}.trial.share_of_linear", lambda *_: 0.5)
    monkeypatch.setattr(f"{module}.fit.share_of_linear", lambda *_: 0.0)
    monkeypatch.setattr(f"{module}.fit.blend", lambda network, share: shares.append(share))
    data = make_mixture(1500, 1, n_features=2, operator="tall", random_state=0)
    options = {"solver": solver, "prior_bandwidth": bandwidth, "max_iter": 24, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=data.operator, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(data.X_train, data.Y_train)
    assert shares == [0.5 if solver == "lbfgs" else share]


def test_intervals_know_what_no_measurement_says():
    """The trial that they are told by is calibrated like the training: without it, 98 %."""
    data = make_mixture(1000, 1000, n_features=2, operator="wide", random_state=2)
    options = {"prior_bandwidth": 0.0, "max_iter": 60, "random_state": 0}
    estimator = ReconstructionINN(operator=data.operator, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(data.X_train, data.Y_train)
    lower, upper = estimator.posterior_interval(data.Y_test)
    assert 0.85 < ((lower <= data.X_test) & (data.X_test <= upper)).mean() < 0.95


@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
@pytest.mark.parametrize("n", [12, 25, 60])
def test_few_pairs_of_many_features(cls, n):
    """A sample covariance denies what they have not seen: 16 times the error, covered 2 to 60 %."""
    rng = np.random.default_rng(n)
    A, X = rng.standard_normal((100, 50)) / 7, rng.standard_normal((n + 300, 50))
    Y = X @ A.T + 0.05 * rng.standard_normal((n + 300, 100))
    estimator = cls(operator=A, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X[:n], Y[:n])
    least_squares = np.linalg.lstsq(A, (Y[n:] - Y[:n].mean(axis=0)).T, rcond=None)[0].T
    least_squares += X[:n].mean(axis=0)
    assert rmse(estimator.predict(Y[n:]), X[n:]) < 1.1 * rmse(least_squares, X[n:])
    lower, upper = estimator.posterior_interval(Y[n:])
    assert 0.87 < ((lower <= X[n:]) & (X[n:] <= upper)).mean() < 0.99


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_the_fewest_pairs_get_the_linear_estimator(cls, n, rng):
    """A network learned five of them by heart: twice the error, and intervals covered 14 %."""
    A, X = rng.standard_normal((6, 4)), rng.exponential(size=(n + 300, 4))
    Y = X @ A.T + 0.3 * rng.standard_normal((n + 300, 6))
    estimator = cls(operator=A, noise_level=0.3, random_state=0)
    with pytest.warns(UserWarning, match=f"^{n} pairs are too few to tell"):
        estimator.fit(X[:n], Y[:n])
    found = estimator.predict(Y[n:])
    covariance = shrunk_covariance(X[:n], np.full(n, 1 / n), A.T @ A, 0.09)
    centred = Y[n:] - Y[:n].mean(axis=0) + A @ X[:n].mean(axis=0)
    linear = linear_estimator(X[:n].mean(axis=0), covariance, A, 0.3)(centred)
    assert rmse(found, X[n:]) == pytest.approx(rmse(linear, X[n:]), rel=1e-3)
    if n > 2:  # of two, none tells the error of the other
        lower, upper = estimator.posterior_interval(Y[n:])
        assert ((lower <= X[n:]) & (X[n:] <= upper)).mean() > 0.9


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_intervals_of_few_pairs_are_long_enough(cls, n):
    data = make_ill_posed("gravity", n, 300, random_state=1)
    estimator = cls(operator=data.operator, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(data.X_train, data.Y_train)
    lower, upper = estimator.posterior_interval(data.Y_test)
    covered = ((lower <= data.X_test) & (data.X_test <= upper)).mean()
    assert 0.87 < covered < 0.99


def test_intervals_go_by_the_errors_of_all_trials(monkeypatch):
    """Each holds out 20 signals, of which alone the quantile of 0.9 is that of 0.945."""
    rng = np.random.default_rng(0)
    learned = SimpleNamespace(history=SimpleNamespace(interrupted=False))

    def verdict(prior):
        found = {"held_out": HeldOutErrors(rng.standard_normal(200), np.ones(200), 20)}
        found["gain"] = 0.3 + rng.standard_normal(20)
        return trial.Verdict(np.ones(20), learned, 0.0, **found)

    others = SimpleNamespace(verdict=verdict, linear_errors=np.full(20, 1.1))
    monkeypatch.setattr(trial._Trial, "of", lambda *_: others)
    first = verdict(None)
    found = trial._after_more_trials(first, ())
    assert found.is_chance and len(found.gain) == 60 and found.held_out.n_signals == 60
    ratios = np.abs(found.held_out.errors)
    np.testing.assert_array_equal(ratios[:200], np.abs(first.held_out.errors))
    level = interval_factor(0.9, found.error_quantiles)
    assert level == pytest.approx(np.quantile(ratios, 0.9 * 61 / 60), rel=1e-6)


@pytest.mark.parametrize("size, told", [(1.4, False), (2.0, True)])
def test_deviations_that_are_too_small_are_told(size, told):
    rng = np.random.default_rng(0)
    pairs = Pairs(np.zeros((7, 30)), np.zeros((7, 3)), np.ones(7))
    quantiles = ErrorQuantiles.of(size * rng.standard_normal(9999), np.ones(9999), 9999)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_small_deviations(quantiles, pairs)
        warn_of_small_deviations(None, pairs)
    assert len(caught) == told
    assert not told or "2 times as large" in str(caught[0].message)
    assert not told or "7 pairs tell too little about 30 features" in str(caught[0].message)


def test_pairs_of_a_group_are_not_judged_by_each_other(rng):
    """Five copies of each signal, measured afresh: without groups their errors look small."""
    A = np.diag(np.linspace(1, 0.01, 12))
    X = np.repeat(rng.standard_normal((20, 12)), 5, axis=0)
    Y = X @ A.T + 0.1 * rng.standard_normal(X.shape)
    estimator = DivergenceRegularizedINN(operator=A, noise_level=0.1, max_iter=20, random_state=0)
    factors = []
    for groups in (None, np.repeat(np.arange(20), 5)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, Y, **({} if groups is None else {"groups": groups}))
        factors.append(estimator.problem_.error_quantiles.factor(0.9))
    assert factors[1] > 1.2 * factors[0]


@pytest.mark.parametrize("lipschitz", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_the_linear_estimator_fits_any_lipschitz_bound(cls, lipschitz, rng):
    """The identity has to be split into a I and L Lᵀ, where a grows with L Lᵀ."""
    X = rng.standard_normal((1000, 40)) @ rng.standard_normal((40, 40))
    Y = X + 3 * rng.standard_normal(X.shape)
    A = np.eye(40)
    estimator = cls(operator=A, noise_level=3.0, lipschitz=lipschitz, max_iter=10, random_state=0)
    with pytest.warns(UserWarning, match="so fit returns that estimator"):
        estimator.fit(X, Y)
    linear = linear_estimator(X.mean(axis=0), np.cov(X.T, bias=True), A, 3.0)
    difference = estimator.predict(Y) - linear(Y - Y.mean(axis=0) + X.mean(axis=0))
    assert np.abs(difference).max() < 1e-4 * np.abs(X).max()
    assert estimator.network_.lipschitz().max() <= lipschitz


def test_clear_gains_are_kept():
    data = make_mixture(1500, 1000, n_features=2, operator="tall", random_state=5)
    estimator = ReconstructionINN(operator=data.operator, max_iter=40, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        estimator.fit(data.X_train, data.Y_train)
    known = {"operator": data.operator, "noise_level": data.noise_level}
    mean = posterior_mean(data.prior, data.Y_test, **known)
    linear = lmmse(data, data.noise_level)(data.Y_test)
    error = rmse(estimator.predict(data.Y_test), data.X_test)
    assert error < 1.02 * rmse(mean, data.X_test) < rmse(linear, data.X_test)


def test_signals_that_judge_a_training_are_no_end_of_a_sorted_row(monkeypatch):
    seen = []
    module = "skinvbayes.training.fit.share_of_linear"
    monkeypatch.setattr(module, lambda specification, trained, X, Z: seen.append(X) or 0.0)
    data = make_mixture(20_000, 1, n_features=2, operator="identity", random_state=0)
    estimator = DivergenceRegularizedINN(operator=np.eye(2), max_iter=1, random_state=0)
    estimator.fit(data.X_train, data.Y_train)
    (X,) = seen
    assert 8000 < len(X) < 20_000
    np.testing.assert_allclose(X.mean(axis=0), data.X_train.mean(axis=0), atol=0.05)


def test_of_many_signals_errors_are_of_every_kth():
    """The first ones of a sorted row say little of the others."""
    identity = SimpleNamespace(to_signals=lambda u: u, from_targets=lambda z: z)
    X = np.linspace(0, 1, 5000)[:, None]
    errors = linear_errors(SimpleNamespace(coordinates=identity), X, np.zeros((1, 5000, 1)))
    assert 1000 < len(errors) <= 2000
    assert errors.mean() == pytest.approx(1 / 3, rel=1e-2)


def test_best_share_is_that_of_the_least_error():
    data = make_bimodal(400, noise_level=0.5, random_state=0)
    estimator = DivergenceRegularizedINN(max_iter=30, random_state=0).fit(data.X, data.Y)
    network, problem = estimator.network_, estimator.problem_
    state = {name: value.clone() for name, value in network.state_dict().items()}
    share = best_share(network, problem, data.X, problem.targets(data.Y)[None])
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name
    w = torch.from_numpy(problem.coordinates.from_targets(problem.targets(data.Y)))

    def error(amount):
        network.load_state_dict(state)
        blend(network, amount)
        found = problem.coordinates.to_signals(invert(network, w).x.numpy())
        return rmse(found, data.X)

    errors = {amount: error(amount) for amount in (0.0, share, 0.5, 1.0)}
    assert errors[share] <= min(errors.values()) * 1.01
    linear = problem.coordinates.to_signals(w.numpy())
    assert errors[1.0] == pytest.approx(rmse(linear, data.X), rel=1e-4)


@pytest.mark.parametrize("gain", [0.0, 10.0])
def test_small_gains_are_not_worthwhile(gain):
    """Where the map is too steep, a share of the linear one helps, if that is asked for."""
    data = make_bimodal(2000, noise_level=0.8, random_state=0)
    options = {"epsilon": 0.64, "noise_level": 0.9}  # not the Bayesian choice: nothing is drawn yet
    estimator = DivergenceRegularizedINN(**options, random_state=0).fit(data.X, data.Y)
    problem = estimator.problem_
    targets = problem.targets(data.Y)[None]
    share = best_share(estimator.network_, problem, data.X, targets, worthwhile_gain=gain)
    assert (share > 0) == (gain == 0)


# ------------------------------------------------------------------------------------ fresh noise


def test_residuals_that_look_like_white_noise(rng):
    X, noise = rng.standard_normal((2, 1500, 4))
    ones = np.ones(1500)
    assert residuals_are_white(noise, X, ones)
    assert residuals_are_white(0 * noise, X, ones)
    mixed = noise @ (np.eye(4) + 0.5 * np.eye(4, k=1))
    assert not residuals_are_white(mixed, X, ones)
    assert not residuals_are_white(noise * [1, 1, 1, 2], X, ones)
    assert not residuals_are_white(noise * (1 + np.abs(X[:, :1])), X, ones)
    assert not residuals_are_white(noise + 0.5 * X**2, X, ones)
    assert not residuals_are_white(rng.standard_t(2, noise.shape), X, ones)


def test_few_pairs_are_rarely_taken_for_colored(rng):
    found = [
        residuals_are_white(*rng.standard_normal((2, n, d)), np.ones(n))
        for n in (20, 60, 200)
        for d in (1, 3, 12)
        for _ in range(30)
    ]
    assert np.mean(found) > 0.95


def test_noise_is_fresh_in_every_draw():
    x, z = torch.zeros(2, 50, 3)
    factor = 0.5 * torch.eye(3)
    objective = Objective(None, x, z, torch.ones(50), noise=factor)
    generator = torch.Generator().manual_seed(0)
    first, second = objective.drawn(generator), objective.drawn(generator)
    assert not torch.equal(first.z, second.z)
    assert torch.equal(first.x, x) and not first.is_random
    copies = objective.replicated(40).drawn(generator)
    assert len(copies.z) == 2000
    torch.testing.assert_close(copies.z.std(0), torch.full((3,), 0.5), rtol=0.1, atol=0)


def test_unequal_noise_is_taken_from_the_pairs(rng):
    """White noise of the same size would be the wrong one: the better channel tells more."""
    data = make_bimodal(2000, noise_level=0.3, random_state=0)
    sizes = np.array([0.1, 0.7])
    Y, Y_new = (data.X + sizes * rng.standard_normal((2000, 2)) for _ in range(2))
    estimator = ReconstructionINN(operator=np.eye(2), max_iter=20, random_state=0).fit(data.X, Y)
    whitened = posterior_mean(data.prior, Y_new / sizes, operator=np.diag(1 / sizes), noise_level=1)
    assert rmse(estimator.predict(Y_new), data.X) < 1.25 * rmse(whitened, data.X)


# -------------------------------------------------------------------------------- ends of training


def test_annealing_is_finished():
    """The step size falls to zero, also where training stalls before its time."""
    for stalls_at in (None, 30):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = Adam([parameter], 1.0)
        schedule, sizes, ended = Annealing(optimizer, 100), [], False
        while not ended:
            for share in (0.0, 0.5):
                schedule.set_step(share)
                sizes.append(optimizer.learning_rate)
            ended = schedule.ends_after(schedule.n_iter + 1 == stalls_at)
        assert len(sizes) == (200 if stalls_at is None else 80)
        assert np.all(np.diff(sizes) <= 1e-9) and sizes[0] == 1.0
        assert sizes[-1] < 0.01
        assert stalls_at is None or sizes[59] > 0.75


def test_a_training_that_still_improves_is_told():
    data = make_bimodal(300, noise_level=0.2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        DivergenceRegularizedINN(max_iter=9, random_state=0).fit(data.X, data.Y)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        DivergenceRegularizedINN(max_iter=4, solver="adam", random_state=0).fit(data.X, data.Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        DivergenceRegularizedINN(random_state=0).fit(data.X, data.Y)
        ReconstructionINN(random_state=0).fit(data.X, data.Y)


def test_improvement_is_told_from_fluctuation():
    rng = np.random.default_rng(0)
    falling = np.exp(-np.arange(50) / 40) + 1e-4 * rng.standard_normal(50)
    assert History(list(falling)).still_improves()
    flat = np.exp(-np.arange(50) / 3) + 1e-2 * rng.standard_normal(50)
    assert not History(list(flat)).still_improves()
    assert not History([1.0]).still_improves()


def test_histories_follow_each_other():
    first, second = (
        History([3.0, 2.0], best_loss=2.0),
        History([5.0, 4.0], [1.0, 0.5], best_loss=4.0),
    )
    both = first.followed_by(second)
    assert both.loss_curve == [3.0, 2.0, 5.0, 4.0]
    assert np.isnan(both.validation_loss_curve[:2]).all() and both.best_loss == 4.0
    assert both.validation_loss_curve[2:] == [1.0, 0.5]
    assert replace(first).loss_curve == [3.0, 2.0]


# ------------------------------------------------------------------------------------- uncertainty


def test_deviations_above_those_of_the_signals_are_told():
    data = make_bimodal(1500, noise_level=0.3, random_state=0)
    estimator = ReconstructionINN(max_iter=20, random_state=0).fit(data.X, data.Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.posterior_std(data.Y)
    estimator.problem_ = replace(estimator.problem_, signal_std=np.array([1e-3, 1.0]))
    with pytest.warns(UserWarning, match=r"For 3 of 3 rows \(rows 0, 1, 2\) standard deviations"):
        estimator.posterior_std(data.Y[:3])
    with pytest.warns(UserWarning, match="1 of them lie far outside the training data"):
        estimator.posterior_covariance(np.vstack([data.Y[:2], [[50.0, 0.0]]]))
