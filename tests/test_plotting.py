"""The displays follow scikit-learn's convention and draw what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.datasets import load_deblurring_digits, make_ill_posed
from skinvbayes.plotting import (
    DeformedGridDisplay,
    EpsilonPathDisplay,
    ErrorTradeOffDisplay,
    ImagesDisplay,
    LossCurveDisplay,
    SignalDisplay,
    UncertaintyDisplay,
    VectorFieldDisplay,
)


@pytest.fixture(scope="module")
def estimator(pairs):
    return DivergenceRegularizedINN(max_iter=5, random_state=0).fit(*pairs)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def displays(estimator, X, Y, ax):
    """Every display, from the estimator and from numbers."""
    grid = DeformedGridDisplay.grid(n_lines=3, n_points=5)
    images = {"truth": np.zeros((2, 6)), "other": np.ones((3, 6))}
    epsilon, scores = [0.01, 0.1], np.array([[0.1, 0.2], [0.3, 0.4]])
    Z = estimator.transform(X)
    unfitted = DivergenceRegularizedINN(max_iter=2, random_state=0)
    return {
        "grid": DeformedGridDisplay.from_estimator(estimator, n_lines=3, n_points=5, ax=ax),
        "grid, numbers": DeformedGridDisplay.from_predictions(grid, n_lines=3, ax=ax),
        "field": VectorFieldDisplay.from_estimator(estimator, X[:9], ax=ax),
        "field, numbers": VectorFieldDisplay.from_predictions(X[:9], X[:9], ax=ax),
        "errors": ErrorTradeOffDisplay.from_estimator(estimator, X, Y, ax=ax),
        "errors, numbers": ErrorTradeOffDisplay.from_predictions(X, X + 1, Y, Z, ax=ax),
        "uncertainty": UncertaintyDisplay.from_estimator(estimator, X, Y, ax=ax),
        "uncertainty, numbers": UncertaintyDisplay.from_predictions(
            X, X + 0.1, np.abs(X) + 0.1, kind="error", ax=ax
        ),
        "loss": LossCurveDisplay.from_estimator(estimator, ax=ax),
        "loss, numbers": LossCurveDisplay.from_predictions([2.0, 1.0], [3.0, 2.0], ax=ax),
        "epsilon": EpsilonPathDisplay.from_estimator(
            *(unfitted, X[:60], Y[:60]), epsilon=epsilon, cv=2, ax=ax
        ),
        "epsilon, numbers": EpsilonPathDisplay.from_predictions(epsilon, scores, scores, ax=ax),
        "signal": SignalDisplay.from_estimator(estimator, Y, X=X, ax=ax),
        "signal, numbers": SignalDisplay.from_predictions([1.0, 2.0], ax=ax),
        "images": ImagesDisplay.from_estimator(estimator, X, Y, image_shape=(1, 2), ax=ax),
        "images, numbers": ImagesDisplay.from_predictions(images, image_shape=(2, 3), ax=ax),
    }


@pytest.mark.parametrize("given", [True, False])
def test_convention(estimator, pairs, given):
    """Drawn on the axes that are given, or on those of a new figure, with labels."""
    ax = plt.subplots()[1] if given else None
    for name, display in displays(estimator, *pairs, ax).items():
        assert display.figure_ is display.ax_.figure, name
        assert (display.ax_ is ax) == given, name
        assert display.ax_.has_data(), name
        if "images" in name:
            assert [text.get_text() for text in display.ax_.get_yticklabels()], name
        elif not given:
            assert display.ax_.get_xlabel(), name
            assert display.ax_.get_ylabel(), name


def test_deformed_grid_of_the_identity_is_the_grid():
    display = DeformedGridDisplay.from_function(lambda Y: Y, n_lines=3, n_points=5, title="grid")
    assert display.lines.shape == (6, 5, 2)
    assert np.ptp(display.lines[:3, :, 0], axis=1).max() == 0
    assert np.ptp(display.lines[3:, :, 1], axis=1).max() == 0
    assert len(display.ax_.lines) == 6
    assert display.ax_.get_title() == "grid"
    assert display.ax_.get_xlim() == display.ax_.get_ylim() == (-2, 2)


def test_deformed_grid_of_a_usual_regressor(pairs):
    X, Y = pairs
    regressor = Reconstructor(DivergenceRegularizedINN(max_iter=3, random_state=0)).fit(Y, X)
    display = DeformedGridDisplay.from_estimator(regressor, n_lines=3, n_points=5, limit=1.5)
    expected = regressor.predict(DeformedGridDisplay.grid(n_lines=3, n_points=5, limit=1.5))
    np.testing.assert_array_equal(display.lines.reshape(-1, 2), expected)
    assert display.ax_.get_xlim() == (-1.5, 1.5)


def test_vectors_are_those_of_the_estimator(estimator, pairs):
    X = pairs[0][:9]
    term = VectorFieldDisplay.from_estimator(estimator, X, scale=2.0, color="red")
    np.testing.assert_array_equal(np.column_stack([term.quiver_.U, term.quiver_.V]), term.vectors)
    np.testing.assert_array_equal(term.vectors, estimator.prior_term(X))
    np.testing.assert_array_equal(term.points, X)
    assert term.quiver_.scale == 2.0
    score = VectorFieldDisplay.from_estimator(estimator, X, response_method="prior_score")
    np.testing.assert_allclose(score.vectors * estimator.epsilon_, term.vectors)


@pytest.mark.parametrize("operator", [None, np.array([[1.0, 0.2], [0.0, 0.7], [0.3, 0.1]])])
def test_errors_are_root_mean_squares(operator, rng):
    A = np.eye(2) if operator is None else operator
    X = rng.standard_normal((200, 2))
    Y = X @ A.T + 0.2 * rng.standard_normal((200, len(A)))
    estimator = ReconstructionINN(operator=operator, max_iter=5, random_state=0).fit(X, Y)
    display = ErrorTradeOffDisplay.from_estimator(estimator, X, Y, name="mine", reference=(2, 4))
    Z = Y if operator is None else Y @ A
    reconstruction, forward = (
        np.sqrt((difference**2).sum(axis=1).mean())
        for difference in (estimator.predict(Y) - X, estimator.transform(X) - Z)
    )
    assert display.reconstruction_error == pytest.approx(reconstruction)
    assert display.forward_error == pytest.approx(forward)
    (line,) = display.ax_.lines
    np.testing.assert_allclose(line.get_xydata(), [[reconstruction / 2, forward / 4]])
    assert line.get_label() == "mine"


def test_calibrated_errors_are_on_the_diagonals(rng):
    std = rng.uniform(0.1, 2.0, size=(4000, 3))
    error = std * rng.standard_normal(std.shape)
    display = UncertaintyDisplay(error, std, name="mine").plot()
    nominal, found = display.ax_.lines[0].get_data()
    np.testing.assert_allclose(found, nominal, atol=0.015)
    np.testing.assert_allclose(display.coverage([0.5, 0.9]), [0.5, 0.9], atol=0.015)
    np.testing.assert_allclose(UncertaintyDisplay(3 * error, std).coverage([0.9]), 0.42, atol=0.02)
    predicted, actual = display.plot(kind="error", n_bins=5).ax_.lines[0].get_data()
    assert len(predicted) == 5
    np.testing.assert_allclose(actual, predicted, rtol=0.06)
    with pytest.raises(ValueError, match="kind must be"):
        display.plot(kind="other")


def test_loss_curves(pairs):
    estimator = ReconstructionINN(max_iter=8, early_stopping=True, random_state=0).fit(*pairs)
    training, validation = LossCurveDisplay.from_estimator(estimator).ax_.lines
    np.testing.assert_array_equal(training.get_ydata(), estimator.loss_curve_)
    np.testing.assert_array_equal(validation.get_ydata(), estimator.validation_loss_curve_)
    assert training.get_label() == "ReconstructionINN"
    assert validation.get_label() == "ReconstructionINN, validation"


def test_epsilon_path(pairs):
    X, Y = pairs
    epsilon = [0.01, 0.09, 0.5]
    estimator = DivergenceRegularizedINN(max_iter=5, random_state=0)
    display = EpsilonPathDisplay.from_estimator(
        estimator, X, Y, epsilon=epsilon, cv=2, noise_level=0.3
    )
    assert display.test_scores.shape == (3, 2)
    assert display.test_scores.mean(axis=1).argmax() == 1
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.lines[-1].get_xdata()[0] == 0.09
    usual = EpsilonPathDisplay.from_estimator(
        *(Reconstructor(estimator), Y, X),
        epsilon=epsilon,
        param_name="estimator__epsilon",
        scoring="r2",
        cv=2,
    )
    assert usual.test_scores.mean(axis=1).argmax() == 1


def test_images_are_in_their_places():
    rows = {"truth": np.arange(12.0).reshape(2, 6), "other": np.ones((3, 6))}
    display = ImagesDisplay(rows, (2, 3)).plot(vmin=-1, vmax=11)
    (image,) = display.ax_.images
    mosaic = image.get_array()
    assert mosaic.shape == (5, 7)
    np.testing.assert_array_equal(mosaic[:2, :3], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(mosaic[:2, 4:], [[6, 7, 8], [9, 10, 11]])
    np.testing.assert_array_equal(mosaic[3:, :3], 1)
    assert mosaic.mask[2].all()
    assert mosaic.mask[:, 3].all()
    assert image.get_clim() == (-1, 11)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["truth", "other"]
    (bar,) = display.ax_.child_axes
    assert "grey" in bar.get_ylabel()


def test_images_of_an_estimator():
    data = load_deblurring_digits()
    estimator = DivergenceRegularizedINN(operator=data.operator, max_iter=1, random_state=0)
    estimator.fit(data.X_train[:100], data.Y_train[:100])
    show = (data.X_test, data.Y_test)
    display = ImagesDisplay.from_estimator(estimator, *show, image_shape=(8, 8), n_images=3)
    assert list(display.rows) == ["truth", "measurement", "DivergenceRegularizedINN"]
    np.testing.assert_array_equal(
        display.rows["DivergenceRegularizedINN"], estimator.predict(data.Y_test[:3])
    )


@pytest.fixture(scope="module")
def ill_posed():
    data = make_ill_posed("gravity", 200, 6, n_features=12)
    estimator = DivergenceRegularizedINN(operator=data.operator, max_iter=5, random_state=0)
    return data, estimator.fit(data.X_train, data.Y_train)


def edges(band, grid):
    """The ends of a band over the grid."""
    vertices = band.get_paths()[0].vertices
    heights = [vertices[np.isclose(vertices[:, 0], x), 1] for x in grid]
    return [height.min() for height in heights], [height.max() for height in heights]


def test_signal_with_band_and_truth(ill_posed):
    data, estimator = ill_posed
    grid = np.linspace(0, 3, 12)
    display = SignalDisplay.from_estimator(
        *(estimator, data.Y_test),
        **{"X": data.X_test, "rows": -2, "grid": grid, "coverage": 0.8, "color": "red"},
        **{"title": "one", "xlabel": "depth (m)", "ylabel": "density (kg/m³)"},
    )
    np.testing.assert_array_equal(display.line_.get_xdata(), grid)
    np.testing.assert_allclose(display.line_.get_ydata(), estimator.predict(data.Y_test)[-2])
    np.testing.assert_array_equal(display.truth_.get_ydata(), data.X_test[-2])
    interval = estimator.posterior_interval(data.Y_test, coverage=0.8)
    np.testing.assert_allclose(edges(display.band_, grid), [end[-2] for end in interval])
    assert display.ax_.get_xlabel() == "depth (m)"
    assert display.ax_.get_ylabel() == "density (kg/m³)"
    assert display.ax_.get_title() == "one"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["DivergenceRegularizedINN", "80 % interval", "truth"]
    assert display.line_.get_color() == "red"


def test_signals_below_each_other(ill_posed):
    data, estimator = ill_posed
    display = SignalDisplay.from_estimator(estimator, data.Y_test, rows=[4, 1], name="mine")
    assert display.ax_.shape == display.line_.shape == display.band_.shape == (2,)
    assert list(display.truth_) == [None, None]
    for line, row in zip(display.line_, (4, 1), strict=True):
        np.testing.assert_allclose(line.get_ydata(), estimator.predict(data.Y_test[[row]])[0])
    assert [ax.get_xlabel() for ax in display.ax_] == ["", "feature"]
    axes = plt.subplots(2)[1]
    assert list(display.plot(ax=axes).ax_) == list(axes)
    assert display.figure_ is axes[0].figure
    assert SignalDisplay.from_predictions(np.ones((1, 3))).ax_.shape == (1,)


def test_band_is_wider_where_measurements_are_missing(ill_posed):
    data, estimator = ill_posed
    Y = pandas.DataFrame(data.Y_test.copy())
    Y.iloc[1, 3:] = np.nan
    holes, complete = (
        SignalDisplay.from_estimator(estimator, measured, rows=1) for measured in (Y, data.Y_test)
    )
    assert np.sum(holes.upper - holes.lower) > np.sum(complete.upper - complete.lower)
    np.testing.assert_allclose(holes.signals, estimator.predict(Y)[1])


def test_signal_of_the_usual_regressor(ill_posed):
    data, estimator = ill_posed
    regressor = Reconstructor(estimator).fit(data.Y_train, data.X_train)
    display = SignalDisplay.from_estimator(regressor, data.Y_test, rows=2)
    np.testing.assert_allclose(display.signals, regressor.predict(data.Y_test)[2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"signals": np.ones((2, 3, 4))}, r"signals must be of shape .* got \(2, 3, 4\)"),
        ({"lower": np.ones(3)}, "give lower and upper, or neither"),
        ({"lower": np.ones(3), "upper": np.ones(4)}, r"upper must .* \(3,\); got \(4,\)"),
        ({"truth": np.ones((1, 3))}, r"truth must be of the shape of signals"),
        ({"grid": np.ones(2)}, r"grid must be of shape \(3,\); got \(2,\)"),
        ({"signals": np.ones((2, 3)), "ax": "one"}, "2 signals, 1 axes"),
    ],
)
def test_signals_that_do_not_fit(given, message):
    if "ax" in given:
        given = given | {"ax": plt.subplots()[1]}
    with pytest.raises(ValueError, match=message):
        SignalDisplay.from_predictions(**({"signals": np.ones(3)} | given))


def test_truth_of_other_rows(ill_posed):
    data, estimator = ill_posed
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SignalDisplay.from_estimator(estimator, data.Y_test, X=data.X_test[:3])


@pytest.mark.parametrize("rows", [6, -7, [0, 6], []])
def test_rows_that_there_are_not(rows, ill_posed):
    data, estimator = ill_posed
    with pytest.raises(ValueError, match="rows must be some of the 6 measurements"):
        SignalDisplay.from_estimator(estimator, data.Y_test, rows=rows)
