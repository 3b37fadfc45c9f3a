"""Everything that is checked before a release: ``nox`` runs all of it, ``nox -s NAME`` a part.

Sessions make their own environments. Arguments after ``--`` go to pytest.
"""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"  # from where sessions require others
nox.options.sessions = [
    *("lint", "types", "tests", "oldest", "newest", "docs"),
    *("wheel", "wheel_oldest", "wheel_newest", "sdist"),
]
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
PINNED = "3.11"  # what constraints.txt was made with
EXTRAS = ["plot", "progress", "skops", "images", "pylops", "dask"]
ROOT = Path(__file__).resolve().parent
DIST = ROOT / ".nox" / "packages"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # of each of the processes that run tests
WARNINGS = ["-W", "error::DeprecationWarning:skinvbayes", "-W", "error::FutureWarning:skinvbayes"]


def install(session, what, constraints=None):
    """Install with constraints; torch first, so that no later package pulls another build."""
    pins = (ROOT / constraints).read_text(encoding="utf-8") if constraints else ""
    torch = [line for line in pins.splitlines() if line.startswith("torch==")]
    if torch:
        session.install(*torch)
    session.install(*(["-c", str(ROOT / constraints)] if constraints else []), *what)


def run_suite(session, versions, *args):
    """Run the tests; if they pass, docs/tested.csv tells of it, as the row of these versions."""
    results = str(Path(session.create_tmp()).resolve() / "results.xml")
    processes = [] if "-n" in session.posargs else ["-n", "2", "--dist", "loadscope"]
    run = ["pytest", f"--junitxml={results}", *processes, *args, *session.posargs]
    measured = ["coverage", "run", "-m"] if session.name == "coverage" else []
    session.run("python", "-m", *measured, *run, env=ONE_THREAD)
    session.run("python", str(ROOT / ".ci" / "record.py"), versions, results, *session.posargs)


@nox.session(python=PYTHONS)
def tests(session):
    """The suite, with the versions that constraints.txt pins where they exist for this Python."""
    pinned = session.python not in ("3.10", "3.14")  # the pins are for what they were made with
    install(session, ["-e", ".[test]"], "constraints.txt" if pinned else None)
    run_suite(session, "pinned" if pinned else "newest")


@nox.session(python="3.10")
def oldest(session):
    """The suite with the oldest versions that pyproject.toml allows."""
    install(session, ["-e", ".[test]"], "constraints-oldest.txt")
    run_suite(session, "oldest")


@nox.session(python="3.13")
def newest(session):
    """The suite with the newest versions of everything."""
    session.install("--upgrade", "-e", ".[test]")
    run_suite(session, "newest", *WARNINGS)


@nox.session(python=PINNED)
def coverage(session):
    """Lines and branches of the package that the suite runs; at least 98 per cent."""
    install(session, ["-e", ".[test]", "coverage>=7.10"], "constraints.txt")
    session.run("coverage", "erase")
    run_suite(session, "pinned")
    session.run("coverage", "combine")
    session.run("coverage", "report", "--fail-under=98")


@nox.session(python=PINNED)
def random(session):
    """The quick tests in a random order, from another folder: they do not depend on each other."""
    install(session, ["-e", ".[test]", "pytest-randomly>=3.15"], "constraints.txt")
    session.chdir(session.create_tmp())
    args = ["-c", str(ROOT / "pyproject.toml"), "-m", "not slow", *session.posargs]
    session.run("python", "-m", "pytest", str(ROOT / "tests"), *args, env=ONE_THREAD)


@nox.session
def lint(session):
    """Style of the code, the workflow and the metadata."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    session.install(*[pin for pin in pins if pin.startswith("ruff==")])
    session.install("check-jsonschema>=0.29", "validate-pyproject>=0.20", "packaging>=24.2")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    workflows = [str(path) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("validate-pyproject", "pyproject.toml")


@nox.session(python=PINNED)
def types(session):
    """Types of the package; setup.cfg says how strict. A program of a user's is all strict."""
    install(session, ["-e", ".", "mypy>=1.19"], "constraints.txt")
    session.run("mypy")
    alone = ["--config-file=", "--strict", "--follow-imports=silent", "--ignore-missing-imports"]
    session.run("mypy", *alone, ".ci/typed_program.py")


@nox.session
def docs(session):
    """The documentation, with warnings as errors and its links checked, as ``make docs``."""
    install(session, ["-e", ".[docs]"], "constraints.txt")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("python", "docs/check_links.py", "docs/_build/html")


@nox.session
def package(session):
    """The wheel and the sdist, with their metadata checked; other sessions install them."""
    session.install("build>=1.2", "twine>=6.1")
    shutil.rmtree(DIST, ignore_errors=True)
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # modules that were removed since
    session.run("python", "-m", "build", "--outdir", str(DIST), str(ROOT), silent=True)
    session.run("twine", "check", "--strict", *map(str, DIST.iterdir()))


def try_wheel(session, extras, constraints=None):
    """The first steps, the examples of these extras, and who names the others, with the wheel."""
    (path,) = DIST.glob("*.whl")
    install(session, [f"{path}[{','.join(extras)}]" if extras else str(path)], constraints)
    session.chdir(session.create_tmp())  # away from the sources
    session.run("python", str(ROOT / ".ci" / "five_lines.py"))
    session.run("python", "-W", "ignore", str(ROOT / ".ci" / "extras.py"), *extras)
    session.run("python", "-m", "skinvbayes", "--help", silent=True)


@nox.session(python=PINNED, requires=["package"])
@nox.parametrize("extra", ["", *EXTRAS])
def wheel(session, extra):
    """The wheel in a fresh environment, without extras and with each of them alone."""
    try_wheel(session, [extra] if extra else [], "constraints.txt")


@nox.session(python="3.10", requires=["package"])
def wheel_oldest(session):
    """The wheel with the oldest versions of everything, extras too."""
    try_wheel(session, EXTRAS, "constraints-oldest.txt")


@nox.session(python="3.13", requires=["package"])
def wheel_newest(session):
    """The wheel with the newest versions of everything, extras too."""
    try_wheel(session, EXTRAS)


@nox.session(python=PINNED, requires=["package"])
def sdist(session):
    """The tests that the sdist has run from it, without the repository; those that are quick."""
    (path,) = DIST.glob("*.tar.gz")
    install(session, [f"{path}[test]"], "constraints.txt")
    place = Path(session.create_tmp()) / "unpacked"
    shutil.rmtree(place, ignore_errors=True)
    shutil.unpack_archive(path, place)
    session.chdir(next(place.iterdir()))
    args = session.posargs or ["tests", "-m", "not slow"]
    session.run("python", "-m", "pytest", "-n", "2", *args, env=ONE_THREAD)


@nox.session
def audit(session):
    """Known weaknesses of the dependencies; needs the network."""
    session.install("pip", "pip-audit>=2.7", ".")
    session.run("python", "-m", "pip", "uninstall", "--yes", "skinvbayes")  # not a dependency
    session.run("pip-audit", "--strict")  # fails too where a package could not be looked up


if os.environ.get("CI"):
    nox.options.error_on_missing_interpreters = True
