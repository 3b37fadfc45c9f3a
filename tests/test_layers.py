"""Imports run downwards only."""

import ast
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import skinvbayes

PACKAGE = Path(skinvbayes.__file__).parent
FLOORS = [  # from the top; a room imports from lower floors, and within its own wing
    {"commands", "_show_versions"},
    {"diagnostics", "callbacks", "reconstructor"},
    {"estimators"},
    {"training", "inference"},
    {"losses", "networks"},
    {"problem", "inversion", "oracles", "datasets", "plotting"},
    {"operators", "priors", "noise"},
    {"numerics", "_version", "units"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")

WINGS = sorted({path.parent for path in MODULES} - {PACKAGE})


def imports(path):
    """The modules of the package that a module imports, as paths below the package."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            if node.module:
                base += tuple(node.module.split("."))
                yield base
            for alias in node.names:
                if (PACKAGE.joinpath(*base, alias.name)).with_suffix(".py").exists():
                    yield (*base, alias.name)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("skinvbayes") for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    room = path.relative_to(PACKAGE).with_suffix("").parts[0].replace("__main__", "commands")
    assert room in FLOOR, f"give {room} a floor in FLOORS"
    for target in imports(path):
        if not target:  # the package itself, which only the commands stand above
            assert room in FLOORS[0]
        elif target[0] != room:
            assert FLOOR[target[0]] > FLOOR[room], f"{room} may not import {'.'.join(target)}"


@pytest.mark.parametrize("wing", WINGS, ids=lambda wing: wing.name)
def test_no_circles_within_a_wing(wing):
    graph = {
        (wing.name, path.stem): set(imports(path)) - {(wing.name,)} for path in wing.glob("*.py")
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_there_are_at_most_eight_floors():
    assert len(FLOORS) <= 8
    assert all(not upper & lower for upper, lower in pairwise(FLOORS))
