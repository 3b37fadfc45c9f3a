"""What a reader sees in the displays: marks, names, numbers, and odd data that stay legible."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skinvbayes import (
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
    reconstruction_scorer,
)
from skinvbayes.plotting import (
    DeformedGridDisplay,
    EpsilonPathDisplay,
    ImagesDisplay,
    LossCurveDisplay,
    SignalDisplay,
    UncertaintyDisplay,
)

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def short(pairs):
    """An estimator of each kind of curve: one stage, two stages, early stopping."""
    known = {"max_iter": 8, "random_state": 0}
    return {
        "one stage": DivergenceRegularizedINN(**known).fit(*pairs),
        "two stages": LogDetRegularizedINN(**known).fit(*pairs),
        "early": ReconstructionINN(residual="mlp", early_stopping=True, **known).fit(*pairs),
    }


def labels_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --------------------------------------------------------------------------------- loss curves


def test_both_axes_of_the_loss_are_linear_and_the_loss_is_named(short):
    display = LossCurveDisplay.from_estimator(short["one stage"])
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "linear"
    assert display.ax_.get_ylabel() == "mean divergence loss"
    assert display.stage_lines_ == [] and display.validation_line_ is None


def test_stages_are_separated_and_named(short):
    estimator = short["two stages"]
    display = LossCurveDisplay.from_estimator(estimator)
    (line,) = display.stage_lines_
    n_first = estimator.training_stages_[0][1]
    np.testing.assert_array_equal(line.get_xdata(), n_first + 0.5)
    label = f"divergence loss until iteration {n_first}, then log det loss"
    assert line.get_label() == label and label in labels_of(display.ax_)
    assert display.ax_.get_ylabel() == "mean loss"


def test_best_and_last_iteration_are_marked(short):
    estimator = short["early"]
    display = LossCurveDisplay.from_estimator(estimator)
    curve = estimator.validation_loss_curve_
    assert curve[display.best_iteration_ - 1] == estimator.best_loss_
    place = display.best_iteration_, estimator.best_loss_
    np.testing.assert_allclose(display.best_.get_offsets(), [place])
    last = estimator.n_iter_, estimator.loss_curve_[-1]
    np.testing.assert_allclose(display.last_.get_offsets(), [last])
    n_best, n_last = display.best_iteration_, estimator.n_iter_
    label = f"lowest validation loss at iteration {n_best}, stopped after {n_last}"
    assert label in labels_of(display.ax_)


def test_the_best_iteration_is_one_of_the_last_stage():
    stages = [("ApproximationLoss", 3), ("DivergenceLoss", 3)]
    curve = [3.0, 1.0, 2.0, 9.0, 7.0, 8.0]
    display = LossCurveDisplay.from_predictions(curve, training_stages=stages)
    assert display.best_iteration_ == 5
    assert LossCurveDisplay.from_predictions(curve).best_iteration_ == 2
    judged = [np.nan, np.nan, np.nan, np.nan, 2.0, 1.0]
    assert LossCurveDisplay.from_predictions(curve, judged).best_iteration_ == 6
    assert LossCurveDisplay.from_predictions(curve, [np.nan] * 6).best_iteration_ is None


def test_validation_differs_in_line_and_colour(short):
    display = LossCurveDisplay.from_estimator(short["early"], color="tab:orange")
    training, validation = display.line_, display.validation_line_
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_color() != validation.get_color()
    assert "validation" in validation.get_label()


def test_losses_that_share_axes_are_not_all_called_by_the_name_of_one(short):
    ax = LossCurveDisplay.from_estimator(short["one stage"]).ax_
    LossCurveDisplay.from_estimator(short["one stage"], ax=ax)
    assert ax.get_ylabel() == "mean divergence loss"
    LossCurveDisplay.from_estimator(short["two stages"], ax=ax)
    assert ax.get_ylabel() == "mean loss"


def test_a_curve_of_one_value_is_seen():
    display = LossCurveDisplay.from_predictions([0.3])
    assert display.line_.get_marker() not in ("", "None")
    assert display.best_iteration_ == 1


def test_curves_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LossCurveDisplay.from_predictions([1.0, 2.0], [1.0])


# ------------------------------------------------------------------------------- epsilon paths

EPSILON = [0.01, 0.1, 1.0]
TRAIN = np.array([[0.9, 0.9], [0.8, 0.9], [0.6, 0.7]])
TEST = np.array([[0.5, 0.6], [0.7, 0.8], [0.6, 0.7]])


def test_best_epsilon_is_that_of_the_test_folds():
    display = EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, TEST)
    assert display.best_epsilon_ == 0.1
    np.testing.assert_array_equal(display.best_line_.get_xdata(), 0.1)
    assert "best: 0.1" in labels_of(display.ax_)
    errors = EpsilonPathDisplay.from_predictions(EPSILON, -TRAIN, -TEST, negate_score=True)
    assert errors.best_epsilon_ == 0.01
    train = EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, TEST, score_type="train")
    assert train.best_epsilon_ is None and len(train.lines_) == 1


def test_train_and_test_differ_by_more_than_colour():
    train, test = EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, TEST).lines_
    assert (train.get_label(), test.get_label()) == ("Train", "Test")
    assert train.get_linestyle() != test.get_linestyle()
    assert train.get_marker() != test.get_marker()
    assert "None" not in (train.get_marker(), test.get_marker())


def test_epsilons_in_any_order_make_one_path():
    order = [2, 0, 1]
    display = EpsilonPathDisplay.from_predictions(
        np.array(EPSILON)[order], TRAIN[order], TEST[order]
    )
    np.testing.assert_array_equal(display.lines_[1].get_xdata(), EPSILON)
    np.testing.assert_allclose(display.lines_[1].get_ydata(), TEST.mean(axis=1))
    assert display.best_epsilon_ == 0.1


def test_odd_epsilons_and_scores_can_be_drawn():
    one = EpsilonPathDisplay.from_predictions(EPSILON[:1], TRAIN[:1], TEST[:1])
    assert one.best_epsilon_ == 0.01
    low, high = one.ax_.get_xlim()
    assert low <= 0.001 and high >= 0.1
    zero = EpsilonPathDisplay.from_predictions([0, 0.1, 1.0], TRAIN, TEST)
    assert zero.ax_.get_xscale() == "symlog"
    failed = TEST.copy()
    failed[1] = np.nan
    assert EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, failed).best_epsilon_ == 1.0
    nothing = EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, np.full_like(TEST, np.nan))
    assert nothing.best_epsilon_ is None


def test_scores_at_hand_have_a_name():
    display = EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, TEST)
    assert display.ax_.get_ylabel() == "Score"
    named = EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, TEST, score_name="mine")
    assert named.ax_.get_ylabel() == "mine"


@pytest.mark.parametrize("style", ["errorbar", None])
def test_other_styles_of_the_spread(style):
    line_kw = {"c": "red"} if style is None else None
    display = EpsilonPathDisplay.from_predictions(
        *(EPSILON, TRAIN, TEST), std_display_style=style, line_kw=line_kw
    )
    assert display.fill_between_ is None
    if style is None:
        assert {line.get_color() for line in display.lines_} == {"red"}
    else:
        assert len(display.errorbar_) == 2 and display.lines_ is None


@pytest.mark.parametrize("options", [{"score_type": "all"}, {"std_display_style": "box"}])
def test_unknown_styles_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        EpsilonPathDisplay.from_predictions(EPSILON, TRAIN, TEST, **options)


def test_the_axis_is_named_by_the_score(pairs):
    X, Y = (part[:60] for part in pairs)
    estimator = DivergenceRegularizedINN(max_iter=1, random_state=0)
    path = {"epsilon": [0.05, 0.1], "cv": 2}

    def name(estimator, X, Y, **options):
        display = EpsilonPathDisplay.from_estimator(estimator, X, Y, **(path | options))
        return display.ax_.get_ylabel()

    usual = {"param_name": "estimator__epsilon"}
    assert name(estimator, X, Y) == "R² of the reconstruction"
    assert name(Reconstructor(estimator), Y, X, **usual) == "R² of the reconstruction"
    assert name(Reconstructor(estimator), Y, X, scoring="r2", **usual) == "R2"
    assert name(estimator, X, Y, score_name="mine") == "mine"
    scorer = reconstruction_scorer("neg_mean_absolute_error")
    assert "R²" not in name(estimator, X, Y, scoring=scorer)
    search = GridSearchCV(estimator, {"tol": [1e-5]}, cv=2, scoring=scorer)
    assert "R²" not in name(search, X, Y, **usual)


# --------------------------------------------------------------------------------- uncertainty


@pytest.mark.parametrize("kind", ["coverage", "error"])
def test_constant_features_do_not_count(rng, kind):
    std = rng.uniform(0.5, 1.0, (400, 2))
    X, error = rng.standard_normal((400, 2)), std * rng.standard_normal((400, 2))
    expected = UncertaintyDisplay.from_predictions(X, X + error, std, kind=kind)
    X = np.column_stack([X, np.full(400, 3.0)])
    error, std = (np.column_stack([part, np.zeros(400)]) for part in (error, std))
    found = UncertaintyDisplay.from_predictions(X, X + error, std, kind=kind, name="mine")
    np.testing.assert_allclose(found.line_.get_xydata(), expected.line_.get_xydata())
    np.testing.assert_array_equal(found.counts_, expected.counts_)
    assert found.coverage([0.5])[0] == pytest.approx(0.5, abs=0.06)
    assert labels_of(found.ax_)[0] == "mine\n(800 errors, 1 constant feature left out)"
    direct = UncertaintyDisplay(found.error, found.std).plot(kind=kind)
    np.testing.assert_array_equal(direct.counts_, expected.counts_)


def test_errors_without_a_standard_deviation_count_as_missed():
    error, std = np.array([[1.0, 0.5], [1.0, -0.5]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    display = UncertaintyDisplay(error, std).plot()
    assert display.coverage([0.9])[0] == 0.5
    assert display.counts_.sum() == 4 and display.counts_[-1] == 2


def test_only_constant_features_are_refused():
    with pytest.raises(ValueError, match="All features are constant"):
        UncertaintyDisplay.from_predictions(np.ones((3, 2)), np.ones((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("kind", ["coverage", "error"])
def test_axes_are_equal_and_the_histogram_counts_all_errors(rng, kind):
    std = rng.uniform(0.1, 2.0, (500, 3))
    error = 3 * std * rng.standard_normal(std.shape)
    display = UncertaintyDisplay(error, std).plot(kind=kind, n_bins=7)
    ax = display.ax_
    assert ax.get_aspect() == 1 and ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlim()[0] == 0
    assert len(display.counts_) == 7 and display.counts_.sum() == 1500
    assert display.line_.get_xydata().max() <= ax.get_ylim()[1]
    assert "errors" in display.counts_ax_.get_ylabel()
    assert display.counts_ax_.get_ylim() == (0, display.counts_.max())


def test_calibrated_errors_fill_the_bins_of_coverage_alike(rng):
    std = rng.uniform(0.1, 2.0, (4000, 3))
    display = UncertaintyDisplay(std * rng.standard_normal(std.shape), std).plot()
    np.testing.assert_allclose(display.counts_, 1200, rtol=0.12)


def test_displays_of_uncertainty_share_axes(rng):
    std = rng.uniform(0.1, 2.0, (300, 2))
    error = std * rng.standard_normal(std.shape)
    small = UncertaintyDisplay(error, std).plot(kind="error")
    large = UncertaintyDisplay(4 * error, std).plot(kind="error", ax=small.ax_)
    again = UncertaintyDisplay(error, std).plot(kind="error", ax=small.ax_)
    assert again.counts_ax_ is large.counts_ax_ is small.counts_ax_
    assert large.diagonal_ is small.diagonal_
    assert large.line_.get_xydata().max() <= small.ax_.get_xlim()[1]


def test_one_row_and_vectors_of_one_feature():
    UncertaintyDisplay.from_predictions([[1.0, 2.0]], [[1.1, 2.2]], [[0.1, 0.2]], kind="error")
    display = UncertaintyDisplay.from_predictions([1.0, 2.0], [1.1, 2.2], [0.1, 0.2])
    assert display.error.shape == (2, 1)


# -------------------------------------------------------------------------------------- images


def test_errors_of_images_and_their_sizes(rng):
    truth = rng.uniform(size=(3, 6))
    rows = {"truth": truth, "seen": truth, "one": truth + 0.2, "two": truth - 0.5 * truth}
    display = ImagesDisplay.from_predictions(rows, image_shape=(2, 3), errors=["one", "two"])
    np.testing.assert_allclose(display.rmse_["one"], 0.2)
    np.testing.assert_allclose(display.rmse_["two"], 0.5 * np.sqrt((truth**2).mean(axis=1)))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["truth", "seen", "one", "error, RMSE", "two", "error, RMSE"]
    errors = display.error_image_.get_array().compressed()
    np.testing.assert_allclose(errors[:18], 0.2)
    np.testing.assert_allclose(np.sort(errors[18:]), np.sort(-0.5 * truth.ravel()))
    low, high = display.error_image_.get_clim()
    assert low == -high
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == [f"{rmse:.3g}" for name in ("one", "two") for rmse in display.rmse_[name]]


def test_an_estimator_shows_its_errors(pairs, short):
    X, Y = pairs
    display = ImagesDisplay.from_estimator(short["one stage"], X, Y, image_shape=(1, 2))
    (rmse,) = display.rmse_.values()
    error = short["one stage"].predict(Y[:10]) - X[:10]
    np.testing.assert_allclose(rmse, np.sqrt((error**2).mean(axis=1)))
    plain = ImagesDisplay.from_estimator(
        short["one stage"], X, Y, image_shape=(1, 2), n_images=1, errors=()
    )
    assert plain.rmse_ == {} and plain.error_image_ is None


def test_images_of_any_range_are_seen():
    rows = {"truth": np.array([[0.0, 255.0, 30.0, 7.0]]), "other": np.full((1, 4), 300.0)}
    assert ImagesDisplay(rows, (2, 2)).plot().image_.get_clim() == (0, 255)
    assert ImagesDisplay({"truth": rows["truth"] / 512}, (2, 2)).plot().image_.get_clim() == (0, 1)
    assert ImagesDisplay(rows, (2, 2)).plot(vmax=9).image_.get_clim() == (0, 9)


def test_images_without_errors_have_a_scale_of_colours():
    rows = {"truth": np.ones((1, 4)), "same": np.ones((1, 4))}
    display = ImagesDisplay.from_predictions(rows, image_shape=(2, 2), errors=["same"])
    assert display.error_image_.get_clim() == (-1, 1)


@pytest.mark.parametrize("options", [{"errors": ["three"]}, {"errors": ["one"], "truth": "three"}])
def test_errors_of_rows_that_there_are_not(options):
    with pytest.raises(ValueError, match="none is called 'three': rows has 'truth', 'one'"):
        ImagesDisplay.from_predictions(
            {"truth": np.ones((1, 4)), "one": np.ones((1, 4))}, image_shape=(2, 2), **options
        )


# ------------------------------------------------------------------------------------- signals


def test_measurements_of_signals_are_drawn_beside_them(pairs, short):
    X, Y = pairs
    display = SignalDisplay.from_estimator(short["one stage"], Y, X=X, rows=3)
    np.testing.assert_array_equal(display.measurement_.get_ydata(), Y[3])
    assert display.measurement_.axes is display.ax_
    assert labels_of(display.ax_)[-1] == "measurement"
    without = SignalDisplay.from_estimator(short["one stage"], Y, show_measurement=False)
    assert without.measurement_ is None
    usual = Reconstructor(short["one stage"]).fit(Y, X)
    assert SignalDisplay.from_estimator(usual, Y).measurement_ is not None


def test_measurements_of_an_operator_have_an_axis_of_their_own(rng):
    A = np.array([[1.0, 0.2], [0.0, 0.7], [0.3, 0.1]])
    X = rng.standard_normal((60, 2))
    Y = X @ A.T + 0.2 * rng.standard_normal((60, 3))
    estimator = DivergenceRegularizedINN(operator=A, max_iter=1, random_state=0).fit(X, Y)
    assert SignalDisplay.from_estimator(estimator, Y).measurement_ is None
    shown = {"show_measurement": True, "measurement_grid": [0.0, 0.5, 1.0]}
    Y[1, 0] = np.nan
    display = SignalDisplay.from_estimator(estimator, Y, rows=[0, 1], **shown)
    for row, (ax, points) in enumerate(zip(display.ax_, display.measurement_, strict=True)):
        assert points.axes is not ax and points.axes.get_ylabel() == "measurement"
        np.testing.assert_array_equal(points.get_data()[0], [0.0, 0.5, 1.0])
        np.testing.assert_array_equal(points.get_data()[1], Y[row])
    assert labels_of(display.ax_[0])[-1] == "measurement"
    with pytest.raises(ValueError, match=r"measurement_grid must be of shape \(3,\)"):
        SignalDisplay.from_estimator(estimator, Y, show_measurement=True)


def test_measurements_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="a row for each of the 1 signals"):
        SignalDisplay.from_predictions([1.0, 2.0], measurement=np.ones((2, 2)))


def test_a_signal_of_one_feature_is_seen():
    display = SignalDisplay.from_predictions([1.0], [0.5], [1.5], truth=[1.2], measurement=[0.9])
    for line in (display.line_, display.truth_, display.measurement_):
        assert line.get_marker() not in ("", "None")
    corners = display.band_.get_paths()[0].get_extents()
    assert corners.width > 0 and (corners.y0, corners.y1) == (0.5, 1.5)


# --------------------------------------------------------------------------------------- grids


def test_the_two_directions_of_a_grid_are_told_in_a_legend():
    display = DeformedGridDisplay.from_function(lambda Y: Y, n_lines=3, n_points=5)
    handles, labels = display.ax_.get_legend_handles_labels()
    assert labels == ["lines that were vertical", "lines that were horizontal"]
    upright, level = handles
    assert np.ptp(upright.get_xdata()) == 0 and np.ptp(level.get_ydata()) == 0
    assert upright.get_color() != level.get_color()
    assert len(display.lines_) == 6
