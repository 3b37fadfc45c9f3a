"""Pipelines of scaled signals, and data frames in and out."""

import numpy as np
import pandas
import polars
import pytest
from sklearn.metrics import r2_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from helpers import every
from skinvbayes import (
    DivergenceRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)
from skinvbayes.datasets import make_bimodal

frames = pytest.mark.parametrize("library", [pandas, polars], ids=lambda module: module.__name__)


# ------------------------------------------------------------------------------------- pipelines


@pytest.fixture(scope="module")
def scaled():
    """Signals in units so different that their forward map is far from well conditioned."""
    data = make_bimodal(600, noise_level=0.3, random_state=0)
    return [3.0, 0.5] * data.X + [10.0, 0.0], data.Y


@pytest.fixture(scope="module")
def pipeline(scaled):
    steps = [
        ("scaler", StandardScaler()),
        ("inn", DivergenceRegularizedINN(max_iter=40, random_state=0)),
    ]
    return Pipeline(steps).fit(*scaled)


def test_what_a_pipeline_does_right(pipeline, scaled):
    X, Y = scaled
    scaler, inn = pipeline["scaler"], pipeline["inn"]
    np.testing.assert_array_equal(pipeline.transform(X), inn.transform(scaler.transform(X)))
    found = pipeline.inverse_transform(Y)
    np.testing.assert_array_equal(found, scaler.inverse_transform(inn.predict(Y)))
    assert min(r2_score(X, found, multioutput="raw_values")) > 0.7
    assert pipeline.score(X, Y) == inn.score(scaler.transform(X), Y) > 0.7


def test_what_a_pipeline_does_wrong_and_the_right_way(pipeline, scaled):
    """Pipeline.predict takes measurements for signals, scales them, and leaves the result so."""
    X, Y = scaled
    assert r2_score(X, pipeline.predict(Y)) < 0
    right = pipeline[:-1].inverse_transform(pipeline[-1].predict(Y))
    assert r2_score(X, right) > 0.7
    regressor = Reconstructor(pipeline).fit(Y, X)
    np.testing.assert_array_equal(regressor.predict(Y), right)


def test_pipeline_of_another_size(scaled):
    """With other than d measurements inverse_transform takes Aᵀ y, and predict(Y) fails loudly."""
    X, Y = scaled
    Y = Y @ [[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]]
    pipeline = make_pipeline(StandardScaler(), ReconstructionINN(max_iter=20, random_state=0))
    pipeline.fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but StandardScaler"):
        pipeline.predict(Y)
    found = pipeline.inverse_transform(pipeline[-1].problem_.targets(Y))  # whitened first
    np.testing.assert_array_equal(Reconstructor(pipeline).fit(Y, X).predict(Y), found)
    assert r2_score(X, found) > 0.7


def test_steps_without_an_inverse_are_named(scaled):
    X, Y = scaled
    pipeline = make_pipeline(Normalizer(), DivergenceRegularizedINN(max_iter=2))
    with pytest.raises(ValueError, match="step Normalizer .* has no inverse_transform"):
        Reconstructor(pipeline).fit(Y, X)


@every
def test_pipeline_clones_and_sets_parameters(cls, scaled):
    X, Y = scaled
    pipeline = make_pipeline(StandardScaler(), cls(max_iter=2, random_state=0))
    name = cls.__name__.lower()
    pipeline.set_params(**{f"{name}__residual": "mlp"}).fit(X, Y)
    assert pipeline[-1].network_.config["residual"] == "mlp"
    assert cls.__name__ in pipeline._repr_html_()


# ------------------------------------------------------------------------------------ data frames


def frame(library, columns, array):
    return library.DataFrame(dict(zip(columns, array.T, strict=True)))


@frames
@every
def test_frames_in(cls, library, pairs):
    X, Y = pairs
    named = frame(library, ["left", "right"], X), frame(library, ["a", "b"], Y)
    plain = cls(max_iter=3, random_state=0).fit(X, Y)
    estimator = cls(max_iter=3, random_state=0).fit(*named)
    assert list(estimator.feature_names_in_) == ["left", "right"]
    np.testing.assert_array_equal(estimator.predict(named[1]), plain.predict(Y))
    np.testing.assert_array_equal(estimator.transform(named[0]), plain.transform(X))
    assert estimator.score(*named) == pytest.approx(plain.score(X, Y), rel=1e-12)
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(named[0][["right", "left"]])


@frames
@every
def test_frames_out(cls, library, pairs):
    X, Y = pairs
    estimator = cls(max_iter=3, random_state=0).set_output(transform=library.__name__)
    estimator.fit(frame(library, ["left", "right"], X), Y)
    Z = estimator.transform(frame(library, ["left", "right"], X))
    assert isinstance(Z, library.DataFrame)
    names = [f"{cls.__name__.lower()}{i}" for i in range(2)]
    assert list(Z.columns) == list(estimator.get_feature_names_out()) == names
    np.testing.assert_allclose(estimator.inverse_transform(Z), X, rtol=1e-6, atol=1e-9)


@frames
def test_one_column_of_measurements(library, pairs):
    X, Y = pairs
    column = library.Series(Y[:, 0].copy())
    estimator = DivergenceRegularizedINN(max_iter=3, random_state=0).fit(X, column)
    assert estimator.n_measurements_in_ == 1
    np.testing.assert_array_equal(estimator.predict(Y[:, :1]), estimator.predict(column.to_frame()))
    assert estimator.score(X, column) == estimator.score(X, Y[:, 0])


@frames
def test_frames_through_a_pipeline(library, pairs):
    X, Y = pairs
    pipeline = make_pipeline(StandardScaler(), ReconstructionINN(max_iter=3, random_state=0))
    pipeline.set_output(transform=library.__name__).fit(frame(library, ["left", "right"], X), Y)
    assert list(pipeline.feature_names_in_) == ["left", "right"]
    assert list(pipeline[-1].feature_names_in_) == ["left", "right"]
    assert isinstance(pipeline.transform(frame(library, ["left", "right"], X)), library.DataFrame)
