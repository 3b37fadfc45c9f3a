"""What the package promises about versions is what is tested, in all places where it is written."""

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

import skinvbayes

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
BOUND = re.compile(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)$")


@pytest.fixture(scope="module")
def project():
    path = ROOT / "pyproject.toml"
    if not path.exists():
        pytest.skip("The sources are not here.")
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def bounds(requirements):
    found = map(BOUND.match, requirements)
    return {match[1].lower(): padded(match[2]) for match in found if match}


def padded(version):
    """A version as three numbers."""
    return tuple(map(int, (version + ".0.0").split(".")[:3]))


def pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {
        line.partition("==")[0].lower(): padded(line.partition("==")[2])
        for line in lines
        if "==" in line
    }


def test_oldest_versions_are_the_lower_bounds(project):
    extras = project["optional-dependencies"]
    required = bounds(project["dependencies"])
    for name in ("plot", "progress", "skops", "images", "pylops", "dask", "test"):
        required |= bounds(extras[name])
    assert required == pins("constraints-oldest.txt")


def test_the_recipe_of_conda_has_the_same_bounds(project):
    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    found = re.findall(r"^    - ([\w-]+) >=([\d.]+)$", text, re.MULTILINE)
    recipe = {name.replace("pytorch", "torch"): padded(version) for name, version in found}
    assert recipe.pop("setuptools") == (77, 0, 0)
    assert recipe == bounds(project["dependencies"])


def test_pinned_versions_are_not_below_the_bounds(project):
    pinned = pins("constraints.txt")
    for name, version in pins("constraints-oldest.txt").items():
        assert pinned[name] >= version


def test_the_version_is_written_once(project):
    assert "version" in project["dynamic"] and "version" not in project
    number = re.escape(skinvbayes.__version__)
    for name in ("pyproject.toml", "setup.cfg", "CITATION.cff", "conda/meta.yaml"):
        assert not re.search(number, (ROOT / name).read_text(encoding="utf-8"))


def test_the_package_is_typed():
    assert (Path(skinvbayes.__file__).parent / "py.typed").exists()


def test_what_is_installed_says_what_it_needs():
    try:
        metadata = importlib.metadata.metadata("skinvbayes")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("The package is not installed.")
    assert metadata["Summary"] and metadata["Requires-Python"] == ">=3.10"
