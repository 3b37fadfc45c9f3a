"""The documentation: its snippets run, and its reference has every public name."""

import importlib
import inspect
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from pkgutil import iter_modules

import matplotlib.pyplot as plt
import pytest

import skinvbayes
from helpers import HAS_CALLBACKS
from skinvbayes.estimators import base

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs/theory").glob("*.md"))
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
IN_FULL = ["README.md", "get_started.md"]  # pages that print results


def blocks(page):
    """The snippets of a page and what they print: pairs of a language and a text."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


WITH_CODE = [page for page in [README, *PAGES] if any(kind == "python" for kind, _ in blocks(page))]


def assert_prints(printed, expected):
    """The same words, and numbers within 5 %."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", expected).split()
    found, told = (list(map(float, NUMBER.findall(text))) for text in (printed, expected))
    assert found == pytest.approx(told, rel=0.05)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_snippets_run(page, monkeypatch, capsys):
    """One after the other, in one namespace; in few iterations where they print no results."""
    if page.name not in IN_FULL:
        full = base.training_specification

        def short(estimator):
            specification = full(estimator)
            return replace(specification, max_iter=min(specification.max_iter, 5))

        monkeypatch.setattr(base, "training_specification", short)
    logger = logging.getLogger("skinvbayes")  # which a recipe sets
    monkeypatch.setattr(logger, "level", logger.level)
    names, printed = {}, None
    for kind, text in blocks(page):
        if kind == "python" and (HAS_CALLBACKS or "set_callbacks" not in text):
            exec(compile(text, str(page), "exec"), names)
            printed = capsys.readouterr().out
        elif kind == "text":
            assert_prints(printed, text)
    plt.close("all")


def test_pages_with_results_show_them():
    for page in (README, ROOT / "docs/get_started.md"):
        assert any(kind == "text" for kind, _ in blocks(page))


def public_modules():
    """The modules and wings on the top floor of the package."""
    for module in iter_modules(skinvbayes.__path__, "skinvbayes."):
        if not module.name.rsplit(".", 1)[1].startswith("_"):
            yield importlib.import_module(module.name)
    yield skinvbayes


INTERNAL = {  # wings whose names are no part of the reference
    *("commands", "inference", "noise", "numerics", "reconstructor", "training", "units"),
}


def referenced():
    """The names in the reference, by modules."""
    names, module = {}, None
    for line in (ROOT / "docs/api.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split(":: ")[1]
        elif re.fullmatch(r"   \w+", line):
            names.setdefault(module, []).append(line.strip())
    return names


def test_every_public_name_is_in_the_reference():
    reference = referenced()
    everywhere = {name for names in reference.values() for name in names}
    for module in public_modules():
        if module.__name__.removeprefix("skinvbayes.") not in INTERNAL:
            missing = set(module.__all__) - everywhere
            assert not missing, f"the reference lacks {sorted(missing)} of {module.__name__}"


def test_the_reference_names_what_exists_once():
    names = referenced()
    for module, listed in names.items():
        assert set(listed) <= set(importlib.import_module(module).__all__)
    listed = [name for group in names.values() for name in group]
    assert len(listed) == len(set(listed))


def test_every_public_function_and_class_has_an_example():
    without = {
        f"{module}.{name}"
        for module, names in referenced().items()
        for name in names
        if callable(found := getattr(importlib.import_module(module), name))
        and "\nExamples\n--------\n" not in inspect.getdoc(found)
    }
    assert without == set()


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_links_lead_to_files_of_the_repository(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" in target or "auto_examples/" in target:
            continue
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for name in re.findall(r"auto_examples/(plot_\w+)", text):
        assert (ROOT / "examples" / f"{name}.py").exists(), f"{page.name} links to {name}"


def test_broken_links_of_the_site_are_found(tmp_path):
    """A file or an element that is not there; links to other sites are not followed."""
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1> <a href="#top"></a> <a href="b.html#here"></a> <img src="no.png">'
        '<a href="b.html#nowhere"></a> <a href="https://example.org/missing"></a>'
    )
    (tmp_path / "b.html").write_text('<a name="here" href="a.html"></a> <a href="gone.html"></a>')
    command = [sys.executable, ROOT / "docs/check_links.py", tmp_path]
    run = subprocess.run(command, capture_output=True, text=True)
    broken = ["a.html: b.html#nowhere", "a.html: no.png", "b.html: gone.html", "3 broken links"]
    assert run.stdout.splitlines() == broken and run.returncode == 1
    (tmp_path / "a.html").write_text('<h1 id="nowhere">A</h1>')
    (tmp_path / "b.html").write_text('<a href="a.html#nowhere"></a>')
    assert subprocess.run(command, capture_output=True).returncode == 0
