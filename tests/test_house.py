"""The house: short modules, short functions, and import paths that hold."""

import ast
import importlib
from pathlib import Path

import pytest

import skinvbayes

PACKAGE = Path(skinvbayes.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES_OF_A_MODULE, LINES_OF_A_FUNCTION = 450, 60

PUBLIC = {  # names that users import; a wing may hand on more
    "skinvbayes": [
        *("ApproximationINN", "ReconstructionINN", "LogDetRegularizedINN"),
        *("DivergenceRegularizedINN", "Reconstructor", "reconstruction_scorer"),
        "show_versions",
    ],
    "skinvbayes.callbacks": ["Checkpoint"],
    "skinvbayes.datasets": [
        *("bimodal_prior", "load_deblurring_digits", "load_photos", "make_backward_heat"),
        *("make_bimodal", "make_saturating_sensor", "make_tomography"),
    ],
    "skinvbayes.diagnostics": [
        *("optimal_prior_term", "pushforward_score", "recovered_forward", "recovered_operator"),
        *("score_error", "stationarity", "sufficiency_gap", "tweedie_gap"),
    ],
    "skinvbayes.losses": [
        *("ApproximationLoss", "DivergenceLoss", "LogDetLoss", "Loss", "ReconstructionLoss"),
    ],
    "skinvbayes.networks": ["IResNet", "MonotoneBlock", "ResidualBlock"],
    "skinvbayes.operators": ["Operator", "as_operator", "check_adjoint", "estimate_operator"],
    "skinvbayes.oracles": [
        *("map_estimate", "measurement_distribution", "posterior", "posterior_covariance"),
        "posterior_mean",
    ],
    "skinvbayes.plotting": [
        *("DeformedGridDisplay", "EpsilonPathDisplay", "ErrorTradeOffDisplay", "ImagesDisplay"),
        *("LossCurveDisplay", "SignalDisplay", "UncertaintyDisplay", "VectorFieldDisplay"),
    ],
    "skinvbayes.priors": [
        *("EmpiricalPrior", "GaussianMixturePrior", "KernelDensityPrior", "principal_axes"),
    ],
    "skinvbayes.problem.smoothing": ["neighbour_bandwidth"],
}


def is_constructor(path, function):
    """True for the constructors of estimators: their parameters are as many as users need."""
    return path.parent.name == "estimators" and function.name == "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not is_constructor(path, node):
            n_lines = node.end_lineno - node.lineno + 1
            assert n_lines <= LINES_OF_A_FUNCTION, f"{node.name} has {n_lines} lines"


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_can_be_imported(module):
    found = importlib.import_module(module)
    assert set(PUBLIC[module]) <= set(found.__all__)
    for name in found.__all__:
        assert hasattr(found, name), f"{module}.__all__ names {name}, which is not there"


def test_slow_tests_that_are_listed_exist():
    tests = Path(__file__).parent
    for name in (tests / "slow_tests.txt").read_text(encoding="utf-8").split():
        file, _, function = name.partition("::")
        assert f"def {function}(" in (tests / file).read_text(encoding="utf-8"), name
