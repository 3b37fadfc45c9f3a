"""The command line: options, folders, pipes, signals and missing extras."""

import contextlib
import io
import os
import signal
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skinvbayes
from skinvbayes.__main__ import main
from skinvbayes.commands import output
from skinvbayes.commands.figures import FIGURES
from skinvbayes.commands.options import parse_arguments

PYTHON = [sys.executable, "-c"]


@pytest.fixture
def draw(monkeypatch):
    """Makes Figure 1 something else than a long computation."""

    def set_figure(function):
        monkeypatch.setitem(FIGURES, "1", function)

    return set_figure


@pytest.fixture
def refuses(capsys, draw):
    """Runs a command that has to end with status 2 and one line, before it computes anything."""
    draw(lambda run: pytest.fail("It began to compute."))

    def run(*arguments, match):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert end.value.code == 2
        assert captured.out == ""
        assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
        assert match in captured.err

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--n-train", n] for n in ("-1", "0", "19", "1e3", "nan", "", "9" * 30, "9" * 5000)),
        *(["reproduce", "--n-test", n] for n in ("-5", "1", "many")),
        *(["--noise-level", level] for level in ("0", "-1", "nan", "inf", "1e300", "1e-9", "δ")),
        *(["--seed", seed] for seed in ("-1", str(2**32 - 1), "0.5")),
        *(["--digits-epochs", n] for n in ("0", "-3", "1e9")),
        *(["--output", folder] for folder in ("", " ", "a\0b")),
        ["reproduce", "--figure", "2"],
    ],
    ids=str,
)
def test_values_out_of_range_are_named(arguments, refuses):
    refuses(*arguments, match=f"argument {arguments[-2]}: ")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["reproduce", "more"], "unrecognized arguments: more"),
        (["--output"], "expected one argument"),
        (["--seed", "1", "reproduce"], "come after its name"),
    ],
)
def test_unknown_words_are_refused(arguments, match, refuses):
    refuses(*arguments, match=match)


WORDS = st.sampled_from(
    [
        *("reproduce", "--seed", "--n-train", "--n-test", "--output", "--quiet", "--noise-level"),
        *("--digits-epochs", "--figure", "--figure=3", "--n-t", "--", "-1", "1", "100", "nan"),
        *("0.4", "1e400", "all", "--help", "--version", "%s", "{}", ""),
    ]
)


@settings(deadline=None)
@given(st.lists(WORDS | st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_any_words_are_understood_or_refused_in_one_line(words):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            options = parse_arguments(words)
        except SystemExit as end:
            assert (end.code, len(errors.getvalue().splitlines())) in {(0, 0), (2, 1)}
        else:
            assert 20 <= options.n_train <= 10**7
            assert 0 < getattr(options, "noise_level", 1) <= 10


def test_what_stands_in_the_way_of_the_folder_is_named(tmp_path, refuses, monkeypatch):
    file = tmp_path / "file"
    file.write_text("Something else.")
    command = ["reproduce", "--figure", "1", "--output"]
    refuses(*command, file, match=f"{str(file)!r}: File exists")
    refuses(*command, file / "below", match="Not a directory")
    refuses(*command, tmp_path / ("long" * 100), match="File name too long")
    (tmp_path / "folder" / "figure-1.csv").mkdir(parents=True)
    refuses(*command, tmp_path / "folder", match="a folder stands where")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "figure-1.png").touch()
    monkeypatch.setattr(output.os, "access", lambda path, mode: False)  # root may do anything
    refuses(*command, tmp_path / "other", match="must not be overwritten")

    def read_only(dir):
        raise PermissionError(13, "Permission denied", f"{dir}/temporary")

    monkeypatch.setattr(output, "TemporaryFile", read_only)
    refuses(*command, tmp_path, match=f"{str(tmp_path)!r}: Permission denied")


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError("Unable to allocate"), "lower --n-train"),
    ],
)
def test_what_fails_on_the_way_is_one_line(error, match, tmp_path, capsys, draw):
    def fail(run):
        raise error

    fail.__doc__ = "Nothing."
    draw(fail)
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "--figure", "1", "--output", str(tmp_path)])
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert match in printed and printed.count("\n") == 1


def test_missing_folders_are_made_and_brackets_are_no_markup(tmp_path, capsys, draw):
    def nothing(run):
        """Nothing."""
        return plt.figure(), [{"problem": "none", "method": "none", "seconds": 0.0}]

    draw(nothing)
    folder = tmp_path / "not" / "[red]yet[/blue]"
    main(["reproduce", "--figure", "1", "--output", str(folder)])
    assert f"{folder}/figure-1.png" in capsys.readouterr().out
    assert (folder / "figure-1.json").exists()


WITHOUT_EXTRAS = """
import sys
from importlib.machinery import PathFinder
from unittest.mock import Mock

missing = {"matplotlib", "rich", "pylops", "skops", "pandas"}

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = super().find_spec(name, path, target)
        return None if name.partition(".")[0] in missing else found

def status_of(*arguments):
    try:
        main(list(arguments))
    except SystemExit as end:
        print("status", end.code)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from skinvbayes.__main__ import main

status_of("--help")
status_of("reproduce", "--help")
status_of("--version")
status_of("reproduce")
sys.modules["matplotlib"] = Mock()
status_of()
assert "torch" not in sys.modules
"""


def test_help_needs_no_extras_and_no_torch_and_commands_name_what_is_missing():
    done = subprocess.run([*PYTHON, WITHOUT_EXTRAS], capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if "status" in line] == [
        *(3 * ["status 0"]),
        *(2 * ["status 2"]),
    ]
    assert f"skinvbayes {skinvbayes.__version__}" in done.stdout
    hint = 'is missing: pip install "skinvbayes[plot,progress]"'
    assert done.stderr.count(hint) == done.stderr.count("\n") == 2, done.stderr


TALKATIVE = """
import skinvbayes.__main__ as command
from skinvbayes.commands.console import Printer

def talk(options):
    for _ in range(10_000):
        Printer().tell("Something that nobody reads." * 10)

command._run = talk
command.run()
"""


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_closed_pipe_ends_the_command_in_silence():
    process = subprocess.Popen(
        [*PYTHON, TALKATIVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_a_full_disc_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PYTHON, TALKATIVE], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "No space left on device" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupt_ends_the_command_and_not_only_a_training(tmp_path):
    options = ["--figure", "1", "--n-train", "300", "--n-test", "20", "--output", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "skinvbayes", "reproduce", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while " %, " not in process.stdout.readline():  # the first training has begun
        pass
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert printed == "python -m skinvbayes: interrupted\n"


def test_letters_that_stdout_does_not_know_are_replaced():
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "skinvbayes", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert "? of the 2-D problem" in done.stdout


def test_rooms_are_imported_when_asked_for():
    assert skinvbayes.losses.Loss
    assert {"DivergenceRegularizedINN", "__version__"} <= set(dir(skinvbayes))
    with pytest.raises(AttributeError, match="no attribute 'loses'"):
        skinvbayes.loses  # noqa: B018
