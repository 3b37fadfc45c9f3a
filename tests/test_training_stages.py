"""The fitted estimator says which losses it was trained with, one after the other."""

import pickle

import pytest

from skinvbayes import ApproximationINN, LogDetRegularizedINN, ReconstructionINN

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling")


def test_stages_are_the_losses_and_their_iterations(pairs):
    one = ApproximationINN(max_iter=4, random_state=0).fit(*pairs)
    assert one.training_stages_ == [("ApproximationLoss", one.n_iter_)]
    two = LogDetRegularizedINN(max_iter=8, random_state=0).fit(*pairs)
    (first, n_first), (second, n_second) = two.training_stages_
    assert (first, second) == ("DivergenceLoss", "LogDetLoss")
    assert n_first == 4 and n_first + n_second == two.n_iter_ == len(two.loss_curve_)


def test_what_goes_on_with_a_loss_makes_its_stage_longer(pairs):
    options = {"residual": "mlp", "max_iter": 4, "early_stopping": True, "random_state": 0}
    estimator = ReconstructionINN(**options).fit(*pairs)
    stages = estimator.training_stages_
    assert [name for name, _ in stages] == ["DivergenceLoss", "ReconstructionLoss"]
    estimator.partial_fit(*pairs)
    assert estimator.training_stages_ == [stages[0], (stages[1][0], stages[1][1] + 1)]
    again = pickle.loads(pickle.dumps(estimator))
    assert again.training_stages_ == estimator.training_stages_
    again.set_params(warm_start=True).fit(*pairs)
    assert len(again.training_stages_) == 2
    assert sum(n for _, n in again.training_stages_) == len(again.loss_curve_)


def test_the_linear_estimator_has_one_stage_of_one_value(rng):
    X = rng.standard_normal((200, 2))
    Y = X + 0.5 * rng.standard_normal((200, 2))
    with pytest.warns(UserWarning, match="fit returns that estimator"):
        estimator = ReconstructionINN(max_iter=30, random_state=0).fit(X, Y)
    assert estimator.training_stages_ == [("ReconstructionLoss", 1)]
