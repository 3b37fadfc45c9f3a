"""Private names of scikit-learn are used in one module, which does without them too."""

import ast
import numbers
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import get_scorer

import skinvbayes
from programs import in_a_process, printed_by
from skinvbayes.numerics import sklearn_compat as compat
from skinvbayes.numerics import sklearn_substitutes as substitutes

PACKAGE = Path(skinvbayes.__file__).parent
MODULES = sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "numerics" / "sklearn_compat.py"})
METHODS = {
    *("_check_feature_names", "_check_n_features", "_get_param_names", "_validate_params"),
    *("_kwargs", "_score", "_score_func", "_sign"),
}


def private_names(tree):
    """Private names of scikit-learn that a module imports, calls or overrides."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn"):
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            yield from (name for name in names if name.startswith("_"))
        elif isinstance(node, ast.Import):
            parts = [part for alias in node.names for part in alias.name.split(".")]
            yield from (part for part in parts if parts[0] == "sklearn" and part.startswith("_"))
        elif isinstance(node, (ast.Attribute, ast.FunctionDef)):
            name = node.name if isinstance(node, ast.FunctionDef) else node.attr
            yield from [name] if name in METHODS or name.startswith("_skl") else []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_uses_private_names_of_scikit_learn(path):
    assert list(private_names(ast.parse(path.read_text(encoding="utf-8")))) == []


# --------------------------------------------------------------- substitutes, beside the originals

CONTAINERS = {
    "array": np.arange(12.0).reshape(4, 3),
    "one number each": np.arange(4.0),
    "list": [1, 2, 3, 4],
    "pandas": pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"), index=[3, 2, 1, 0]),
    "polars": pl.DataFrame(np.arange(12.0).reshape(4, 3), schema=list("abc")),
    "sparse": csr_array(np.eye(4)),
}


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([2, 0])], ids=["slice", "numbers"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_rows_are_the_same(name, rows):
    found = [module.safe_indexing(CONTAINERS[name], rows) for module in (compat, substitutes)]
    found = [one.toarray() if name == "sparse" else np.asarray(one) for one in found]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("weight", [None, 2, [0.5, 1, 0, 3], np.ones(4, dtype=np.float32)], ids=str)
def test_weights_are_the_same(weight):
    X = CONTAINERS["array"]
    found = substitutes._check_sample_weight(weight, X, dtype=np.float64, ensure_non_negative=True)
    np.testing.assert_array_equal(found, compat.check_sample_weight(weight, X))
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 1, 1], "sample_weight.shape"),
        ([1, 1, 1, -1], "Negative values in data"),
        ([1, 1, 1, np.nan], "NaN"),
        (np.ones((4, 1)), "must be 1D"),
    ],
)
def test_weights_that_are_refused_are_the_same(weight, message):
    checks = [
        compat.check_sample_weight,
        lambda *given: substitutes._check_sample_weight(
            *given, dtype=np.float64, ensure_non_negative=True
        ),
    ]
    for check in checks:
        with pytest.raises(ValueError, match=message):
            check(weight, CONTAINERS["array"])


@pytest.mark.parametrize("name", CONTAINERS)
def test_names_of_columns_are_the_same(name):
    found = [module.column_names(CONTAINERS[name]) for module in (compat, substitutes)]
    if name in ("pandas", "polars"):
        assert all(list(one) == list("abc") for one in found)
    else:
        assert found == [None, None]


def test_names_of_two_kinds_are_refused():
    frame = pd.DataFrame(np.eye(2), columns=["a", 1])
    for module in (compat, substitutes):
        with pytest.raises(TypeError, match="Feature names are only supported"):
            module.column_names(frame)
        assert module.column_names(pd.DataFrame(np.eye(2))) is None


VALUES = [
    *(None, True, np.True_, 0, 1, -1, 0.5, 1.0, np.float64(0.5), np.inf, np.nan, 2**40),
    *("auto", "other", [1, 2], (), np.ones(2), print, np.random.RandomState(0)),
]
CONSTRAINTS = {
    "interval": lambda module: [module.Interval(numbers.Real, 0, 1, closed="left")],
    "open": lambda module: [module.Interval(numbers.Real, 0, None, closed="neither")],
    "closed": lambda module: [module.Interval(numbers.Integral, 0, 1, closed="both")],
    "right": lambda module: [module.Interval(numbers.Real, None, 1, closed="right")],
    "options": lambda module: [module.StrOptions({"auto"}), None],
    "named": lambda module: ["array-like", "boolean"],
    "random state": lambda module: ["random_state"],
    "verbose": lambda module: ["verbose"],
    "callable": lambda module: [callable, str],
    "unchecked": lambda module: "no_validation",
}


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_constraints_are_the_same(kind):
    private = pytest.importorskip("sklearn.utils._param_validation")

    def accepted(module, value):
        constraint = {"parameter": CONSTRAINTS[kind](module)}
        try:
            module.validate_parameter_constraints(constraint, {"parameter": value}, "Model")
        except ValueError as error:
            assert str(error).startswith("The 'parameter' parameter of Model must be a")
            return False
        return True

    found, expected = ([accepted(module, v) for v in VALUES] for module in (substitutes, private))
    assert found == expected


def test_messages_about_constraints_are_the_same():
    private = pytest.importorskip("sklearn.utils._param_validation")
    for make in (CONSTRAINTS["interval"], CONSTRAINTS["options"], CONSTRAINTS["callable"]):
        messages = []
        for module in (substitutes, private):
            with pytest.raises(ValueError) as error:
                module.validate_parameter_constraints({"a": make(module)}, {"a": 3j}, "Model")
            messages.append(str(error.value).replace("0.0, 1.0", "0, 1"))
        assert messages[0] == messages[1]


def test_parts_of_scorers():
    assert compat.scorer_parts(get_scorer("neg_mean_squared_error"))[1] == -1
    with pytest.raises(TypeError, match="give reconstruction_scorer the metric itself"):
        compat.scorer_parts(print)


# ------------------------------------------------------------ a scikit-learn without them

PROGRAM = """
import builtins, importlib, warnings
import numpy as np, sklearn.metrics, sklearn.model_selection, sklearn.utils, sklearn.linear_model

hidden = {"_BaseScorer", "_safe_indexing", "_check_sample_weight", "_get_feature_names", "Interval",
          "StrOptions", "validate_parameter_constraints", "CallbackSupportMixin", "with_callbacks"}
original, asked = builtins.__import__, set()
def without(name, globals=None, locals=None, fromlist=(), level=0):
    ours = (globals or {}).get("__name__", "").startswith("skinvbayes")
    if ours and name.split(".")[0] == "sklearn":
        gone = hidden.intersection(fromlist or ())
        asked.update(gone)
        if gone:
            raise ImportError(f"cannot import {gone}")
    return original(name, globals, locals, fromlist, level)
builtins.__import__ = without

from skinvbayes import DivergenceRegularizedINN, Reconstructor, reconstruction_scorer
from skinvbayes.datasets import make_bimodal
from skinvbayes.numerics import sklearn_compat as compat
assert compat.Interval.__module__ == "skinvbayes.numerics.sklearn_substitutes"

X, Y = (lambda p: (p.X, p.Y))(make_bimodal(60, random_state=0))
model = DivergenceRegularizedINN(max_iter=3, random_state=0)
model.fit(X, Y, sample_weight=np.linspace(0.5, 1, 60))
scorer = reconstruction_scorer("neg_mean_squared_error")
np.testing.assert_allclose(scorer(model, X, Y), -((model.predict(Y) - X) ** 2).mean())
search = sklearn.model_selection.GridSearchCV(model, {"epsilon": [0.05, 0.1]}, scoring=scorer, cv=2)
assert np.isfinite(search.fit(X, Y).best_score_)
Reconstructor(model).fit(Y, X).predict(Y)
try:
    DivergenceRegularizedINN(max_iter=0).fit(X, Y)
except ValueError as error:
    print(error)
print(sorted(asked))
"""


@pytest.mark.usefixtures("warm_processes")
def test_everything_works_without_the_private_names():
    printed = in_a_process(printed_by, PROGRAM, {})
    message, asked = printed.splitlines()
    assert message == (
        "The 'max_iter' parameter of DivergenceRegularizedINN must be an int in the range "
        "[1, inf). Got 0 instead."
    )
    assert "_BaseScorer" in asked and "_check_sample_weight" in asked and "Interval" in asked
