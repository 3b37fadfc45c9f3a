"""What show_versions prints."""

import re
import sys
from importlib.metadata import requires, version

import torch

import skinvbayes
from skinvbayes import _show_versions, show_versions

FOR_DEVELOPERS = "test", "bench", "dev", "docs"


def test_it_says_what_is_installed(capsys):
    show_versions()
    text = capsys.readouterr().out
    for name in ("System", "Dependencies", "Optional dependencies", "Torch"):
        assert f"\n{name}:\n" in text
    assert f"skinvbayes: {skinvbayes.__version__}\n" in text
    assert f" python: {sys.version.split()[0]} " in text
    for name in ("numpy", "scikit-learn", "torch", "matplotlib"):
        assert f" {name}: {version(name)}\n" in text
    assert f" threads: {torch.get_num_threads()}\n" in text
    assert "user_api: blas" in text


def test_what_is_not_installed_is_said(capsys, monkeypatch):
    monkeypatch.setattr(_show_versions, "_OPTIONAL", ("no-such-package",))
    show_versions()
    assert "no-such-package: not installed\n" in capsys.readouterr().out


def test_every_dependency_is_listed():
    for requirement in requires("skinvbayes"):
        name = re.match(r"[\w.-]+", requirement).group().lower()
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        if extra is None:
            assert name in _show_versions._REQUIRED
        elif extra.group(1) not in FOR_DEVELOPERS:
            assert name in _show_versions._OPTIONAL
