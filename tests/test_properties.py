"""Whatever comes in: it works, or the error is Python's own kind with a message; never silence."""

import warnings
from copy import deepcopy
from functools import lru_cache

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from helpers import ALL
from skinvbayes import (
    DivergenceRegularizedINN,
    Reconstructor,
)

DTYPES = ["f8", "f4", "f2", "i8", "i4", "u1", "?", "O", "c16", "U8", "S8", "M8[s]"]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "reversed": lambda rows: rows[::-1],
    "columns of more": lambda rows: np.concatenate([rows, rows], axis=-1)[..., : rows.shape[-1]],
    "lists": lambda rows: rows.tolist(),
}
SPOILS = {"nothing": None, "NaN": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 1e308}

settings.register_profile(
    "skinvbayes", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("skinvbayes")


@st.composite
def arrays(draw, n_rows, n_columns):
    """Two-dimensional, or of a wrong number of dimensions; of any type, layout and scale."""
    shape = draw(
        st.sampled_from([(n_rows, n_columns)] * 8 + [(n_rows,), (n_rows, n_columns, 1), ()])
    )
    rng = np.random.RandomState(draw(st.integers(0, 99)))
    scale = 10.0 ** draw(st.sampled_from([0, 0, 0, 0, -30, -8, 3, 8, 30, 150, -150]))
    offset = draw(st.sampled_from([0, 0, 1, -1e3, 1e8]))
    rows = np.asarray(scale * (rng.standard_normal(shape) + offset))
    spoil = SPOILS[draw(st.sampled_from(["nothing"] * 8 + list(SPOILS)))]
    if spoil is not None and rows.size:
        rows.flat[0] = spoil
    if draw(st.booleans()) and rows.ndim == 2 and rows.size:
        rows[:, 0] = rows[0, 0]
    dtype = draw(st.sampled_from(["f8"] * 12 + DTYPES))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rows = rows.astype(dtype)
        except ValueError:
            rows = np.zeros(shape, dtype)
    layout = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))] if rows.ndim == 2 else np.asarray
    rows = layout(rows)
    if isinstance(rows, np.ndarray):
        rows.flags.writeable = draw(st.booleans())
    return rows


@st.composite
def pairs(draw):
    n = draw(st.sampled_from([0, 1, 2, 3, 5, 20, 20, 20]))
    m = n if draw(st.integers(0, 9)) else n + 1
    d = draw(st.integers(1, 5))
    measurements = draw(st.sampled_from([d, d, 1, 2, 6]))
    return draw(arrays(n, d)), draw(arrays(m, measurements))


@st.composite
def estimators(draw):
    cls = draw(st.sampled_from(ALL))
    return cls(
        max_iter=3,
        random_state=0,
        residual=draw(st.sampled_from(["gradient", "mlp"])),
        solver=draw(st.sampled_from(["auto", "adam", "lbfgs"])),
        operator=draw(st.sampled_from([None, None, "estimate"])),
        n_blocks=draw(st.sampled_from([1, 1, 2])),
        early_stopping=draw(st.sampled_from([False, False, True])),
    )


def try_to(call, *args):
    """The result, or None where the arguments were refused with a message. No NaN in silence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call(*args)
        except (ValueError, TypeError) as error:
            assert str(error)
            assert "torch" not in str(error).lower()
            return None
    if isinstance(result, np.ndarray) and not np.isfinite(result).all():
        assert any(issubclass(w.category, ConvergenceWarning) for w in caught), "NaN in silence"
    return result


@settings(max_examples=300)
@given(estimators(), pairs())
def test_fit_and_all_that_follows(estimator, data):
    X, Y = data
    before = repr(np.array(X).tolist()), repr(np.array(Y).tolist())
    if try_to(estimator.fit, X, Y) is not None:
        assert estimator.predict(np.reshape(Y, (len(Y), -1))) is not None
        for method, rows in (("transform", X), ("inverse_transform", X), ("predict", X)):
            try_to(getattr(estimator, method), rows)
        score = try_to(estimator.score, X, Y)
        assert score is None or isinstance(score, float)
    assert before == (repr(np.array(X).tolist()), repr(np.array(Y).tolist()))


@lru_cache
def fitted():
    X = np.random.RandomState(0).standard_normal((30, 2))
    return DivergenceRegularizedINN(noise_level=0.1, max_iter=3, random_state=0).fit(X, X)


@settings(max_examples=100)
@given(arrays(6, 2), st.sampled_from(["predict", "transform", "inverse_transform", "partial_fit"]))
def test_fitted_estimators_meet_anything(rows, method):
    estimator = deepcopy(fitted())
    arguments = (rows, rows) if method == "partial_fit" else (rows,)
    found = try_to(getattr(estimator, method), *arguments)
    if isinstance(found, np.ndarray):
        assert found.shape == (6, 2)


@settings(max_examples=60)
@given(pairs())
def test_reconstructors_meet_anything(data):
    X, Y = data
    regressor = Reconstructor(DivergenceRegularizedINN(max_iter=3, random_state=0))
    if try_to(regressor.fit, Y, X) is not None:
        found = try_to(regressor.predict, Y)
        assert found is None or found.shape == np.shape(X)


@settings(max_examples=60)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 20), st.sampled_from(ALL))
def test_sensible_data_always_work(n, d, seed, cls):
    """Signals that vary in every direction: no warning, no error, and the inverse is one."""
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, d))
    Y = X + 0.1 * rng.standard_normal((n, d))
    estimator = cls(max_iter=3, noise_level=0.1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", message="The linear fit of y to X is not close to symmetric"
        )
        warnings.filterwarnings("ignore", message="The loss was still falling")
        if n <= d:  # of so few signals some directions are flat, and the inverse is steep there
            warnings.filterwarnings("ignore", message="The forward map was not found")
        back = estimator.fit(X, Y).inverse_transform(estimator.transform(X))
    rounding = 1e-6 if n > d else 1e-2
    np.testing.assert_allclose(back, X, rtol=rounding, atol=rounding * np.abs(X).max())
