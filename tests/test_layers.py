"""Imports run downwards only."""

import ast
from pathlib import Path

import pytest

import skinvbayes

ROOMS = {
    "operators": set(),
    "priors": set(),
    "jacobians": {"threads"},
    "spectra": set(),
    "activations": set(),
    "hidden_form": set(),
    "fused": {"activations", "spectra"},
    "raising": {"spectra"},
    "blocks": {"jacobians", "raising"},
    "gradient": {"activations", "blocks", "fused", "hidden_form", "jacobians", "raising"},
    "mlp": {"activations", "blocks", "fused", "hidden_form", "jacobians", "spectra"},
    "filters": set(),
    "convolution": {"blocks", "filters"},
    "threads": set(),
    "training": set(),
    "reporting": set(),
    "plotting": set(),
    "units": set(),
    "docstrings": set(),
    "callbacks": set(),
    "problem": {"forward_term", "operators", "priors", "units"},
    "persistence": {"networks"},
    "forward_map": {"inversion", "networks", "threads", "units"},
    "oracles": {"operators", "priors"},
    "datasets": {"operators", "priors"},
    "inversion": {"jacobians", "krylov", "threads"},
    "networks": {"blocks", "convolution", "gradient", "mlp"},
    "losses": {"inversion"},
    "krylov": set(),
    "uncertainty": {"krylov", "operators"},
    "forward_term": {"operators"},
    "transfer": {"forward_map", "inversion"},
    "posterior": {"threads", "uncertainty"},
    "fitting": {"filters", "losses", "networks", "problem", "reporting", "spectra", "training"},
    "estimators": {
        *("callbacks", "docstrings", "fitting", "forward_map", "networks", "persistence"),
        *("posterior", "threads", "transfer"),
    },
    "reconstructor": {"callbacks", "estimators"},
    "diagnostics": {"estimators", "operators", "oracles"},
}
FREE = {"__init__", "__main__", "demo", "reproduce"}  # the package, the commands
PACKAGE = Path(skinvbayes.__file__).parent
MODULES = sorted(PACKAGE.glob("*.py"))
DATASETS = sorted(PACKAGE.glob("datasets/*.py"))


def relative_imports(path, level):
    return {
        name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == level
        for name in ([node.module] if node.module else [alias.name for alias in node.names])
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_run_downwards(path):
    if path.stem in FREE:
        return
    assert path.stem in ROOMS, f"say in ROOMS what {path.stem} may import"
    assert relative_imports(path, level=1) <= ROOMS[path.stem]


@pytest.mark.parametrize("path", DATASETS, ids=lambda path: path.stem)
def test_datasets_import_their_siblings_and_what_is_below(path):
    assert relative_imports(path, level=1) <= {sibling.stem for sibling in DATASETS}
    assert relative_imports(path, level=2) <= ROOMS["datasets"]
