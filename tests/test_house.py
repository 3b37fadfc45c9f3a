"""The house: small modules, short functions, public names where users import them."""

import ast
import importlib
from pathlib import Path

import pytest

import skinvbayes

PACKAGE = Path(skinvbayes.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = {
    "skinvbayes": (
        *("ApproximationINN", "ReconstructionINN", "LogDetRegularizedINN"),
        *("DivergenceRegularizedINN", "Reconstructor", "reconstruction_scorer"),
    ),
    "skinvbayes.datasets": (
        *("bimodal_prior", "load_deblurring_digits", "load_photos", "make_backward_heat"),
        *("make_bimodal", "make_saturating_sensor", "make_tomography"),
    ),
    "skinvbayes.diagnostics": (
        *("optimal_prior_term", "pushforward_score", "recovered_forward", "recovered_operator"),
        *("score_error", "stationarity", "sufficiency_gap", "tweedie_gap"),
    ),
    "skinvbayes.priors": ("EmpiricalPrior", "GaussianMixturePrior", "KernelDensityPrior"),
    "skinvbayes.oracles": (
        *("map_estimate", "measurement_distribution", "posterior", "posterior_covariance"),
        "posterior_mean",
    ),
    "skinvbayes.plotting": (
        *("DeformedGridDisplay", "EpsilonPathDisplay", "ErrorTradeOffDisplay", "ImagesDisplay"),
        *("LossCurveDisplay", "UncertaintyDisplay", "VectorFieldDisplay"),
    ),
    "skinvbayes.networks": ("RESIDUALS", "IResNet", "MonotoneBlock", "ResidualBlock"),
    "skinvbayes.operators": (
        *("GramOperator", "Operator", "as_operator", "check_adjoint", "estimate_operator"),
    ),
    "skinvbayes.losses": (
        *("LOSSES", "ApproximationLoss", "DivergenceLoss", "LogDetLoss", "Loss"),
        "ReconstructionLoss",
    ),
    "skinvbayes.estimators": ("BaseINN",),
    "skinvbayes.inversion": ("InvertibleMap", "Inversion", "implicit_inverse", "invert"),
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_hold_one_idea_and_functions_are_short(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 450
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_where_users_import_them(module):
    room = importlib.import_module(module)
    for name in PUBLIC[module]:
        assert hasattr(room, name)
        assert name in room.__all__


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
