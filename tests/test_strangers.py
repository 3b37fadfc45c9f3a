"""Files of strangers: what does not fit is refused, and the package itself reaches for nothing."""

import ast
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io as sio
import torch
from skops.io.exceptions import UntrustedTypesFoundException

import skinvbayes
from skinvbayes import ApproximationINN, DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.networks.image_filters import first_filters

PACKAGE = Path(skinvbayes.__file__).parent
A = np.array([[1.0, 0.3], [0.0, 0.7], [0.5, 0.5]])


@pytest.fixture(scope="module")
def states():
    """States of estimators with all kinds of networks, and of one that has an operator."""
    X = np.random.RandomState(0).standard_normal((60, 2))
    Y = X @ A.T + 0.1 * np.random.RandomState(1).standard_normal((60, 3))
    options = {"max_iter": 2, "random_state": 0}
    fitted = {
        "operator": DivergenceRegularizedINN(operator=A, **options).fit(X, Y),
        "explicit": ReconstructionINN(**options).fit(X, X + 0.1 * Y[:, :2]),
        "mlp": ApproximationINN(residual="mlp", **options).fit(X, X),
    }
    images = np.random.RandomState(2).standard_normal((20, 36))
    filters = {"residual": "conv", "image_shape": (6, 6), "kernel_size": 3, "operator": np.eye(36)}
    noisy = images + 0.1 * np.random.RandomState(3).standard_normal(images.shape)
    fitted["conv"] = DivergenceRegularizedINN(**filters, **options).fit(images, noisy)
    return {name: (type(one), one.__getstate__()) for name, one in fitted.items()}


def changed(state, path, value):
    """The same nested dicts and lists with another value at one place."""
    if not path:
        return value
    copied = state.copy()
    copied[path[0]] = changed(state[path[0]], path[1:], value)
    return copied


def load(cls, state):
    loaded = cls.__new__(cls)
    loaded.__setstate__(state)
    return loaded


# ------------------------------------------------------------------------------------------- sizes


FILTERS = {"image_shape": (6, 6), "kernel_size": 3, "dilations": (1,)}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("operator", "n_features", 10**12),
        ("operator", "n_blocks", 10**9),
        ("operator", "hidden_layer_sizes", (10**11,)),
        ("operator", "hidden_layer_sizes", (200,)),
        ("operator", "block_options", {"n_pieces": 10**11}),
        ("explicit", "block_options", {"n_pieces": 32, "n_subtracted": 10**12}),
        ("mlp", "hidden_layer_sizes", (1000, 1000)),
        ("mlp", "hidden_layer_sizes", (10**7, 10**7)),
        ("conv", "hidden_layer_sizes", (70,)),
        ("conv", "hidden_layer_sizes", (np.int64(2**62),)),
        ("conv", "block_options", FILTERS | {"kernel_size": 31}),
        ("conv", "block_options", FILTERS | {"kernel_size": np.int64(2**33)}),
        ("conv", "block_options", FILTERS | {"dilations": (1, 2**40)}),
        ("conv", "block_options", FILTERS | {"image_shape": (2**20, 2**20)}),
    ],
)
def test_huge_sizes_are_refused_before_memory_is_taken(name, key, value, states):
    cls, state = states[name]
    huge = changed(state, ("network_", "config", key), value)
    start = time.monotonic()
    with pytest.raises(ValueError, match="does not fit its configuration"):
        load(cls, huge)
    assert time.monotonic() - start < 1


def test_first_filters_are_made_from_few_waves(monkeypatch):
    """All products of 181 waves would have 10⁹ numbers; a stranger may declare such filters."""
    outer, made = torch.outer, []
    monkeypatch.setattr(torch, "outer", lambda *waves: made.append(1) or outer(*waves))
    filters, _ = first_filters(4, (181, 181), torch.Generator())
    assert filters.shape == (4, 181, 181) and len(made) <= 8


# ------------------------------------------------------------------------------------------ shapes

PLACES = [
    ("measurement", "offset"),
    ("coordinates", "signal_mean"),
    ("coordinates", "target_mean"),
    ("coordinates", "basis"),
    ("coordinates", "inverse_basis"),
    ("signal_std",),
]


@pytest.mark.parametrize("name", ["operator", "explicit"])
@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_wrong_shapes_are_named(place, name, states):
    cls, state = states[name]
    path = "problem_", *place
    array = state["problem_"]
    for key in place:
        array = array[key]
    for wrong in (np.concatenate([array, array]), array[:1], array[..., None]):
        with pytest.raises(ValueError, match=rf"{place[-1]} has the shape .* is expected"):
            load(cls, changed(state, path, wrong))


def test_weights_of_other_shapes_are_refused(states):
    for cls, state in states.values():
        arrays = state["network_"]["arrays"].items()
        for name, array in [(name, array) for name, array in arrays if array.ndim]:
            wrong = changed(state, ("network_", "arrays", name), np.zeros((3, *array.shape)))
            with pytest.raises(ValueError, match="does not fit its configuration"):
                load(cls, wrong)


# ----------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize("name", ["system", "DivergenceRegularizedINN"])
def test_other_classes_in_skops_files_need_trust(name, tmp_path):
    """A file names its classes; those of other packages are not loaded unless one trusts them."""
    path, other = tmp_path / "model.skops", tmp_path / "other.skops"
    sio.dump(DivergenceRegularizedINN(), path)
    with zipfile.ZipFile(path) as archive:
        schema = json.loads(archive.read("schema.json"))
    schema |= {"__class__": name, "__module__": "os"}
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    ours = sio.get_untrusted_types(file=path)
    with pytest.raises(UntrustedTypesFoundException, match=f"os.{name}"):
        sio.load(other, trusted=ours)


# -------------------------------------------------------------------- what the package reaches for

NETWORK = {
    *("aiohttp", "asyncio", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "ssl"),
    *("urllib", "webbrowser", "xmlrpc"),
}
SHELL = {"ctypes", "pty", "shlex", "subprocess"}
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "fork", "spawnv", "execv"}
UNPICKLING = {("callbacks.py", name) for name in ("load", "loads")}  # of what it wrote itself


def reached(tree):
    """Names of modules that are imported and of functions that are called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in ("os", "pickle", "builtins"):
                yield node.func.attr


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_network_no_shell_and_no_code_from_text(path):
    found = set(reached(ast.parse(path.read_text(encoding="utf-8"))))
    assert found & (NETWORK | SHELL | CALLS) == set()
    unpickles = {(path.name, name) for name in found & {"load", "loads", "Unpickler"}}
    assert unpickles <= UNPICKLING


@pytest.mark.parametrize(
    "line",
    [
        *("import socket", "from urllib.request import urlopen", "import subprocess as s"),
        *("eval('1')", "import os\nos.system('ls')", "pickle.loads(b'')"),
    ],
)
def test_the_search_finds_them(line):
    found = set(reached(ast.parse(line)))
    assert found & (NETWORK | SHELL | CALLS | {"loads"})
