"""Progress of long work: bars, lines, the logger, and all that may stand in for stdout."""

import io
import logging
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rich.progress
import torch
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV

from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, Reconstructor
from skinvbayes.numerics import chunks, displays, progress

LINE = re.compile(r"(\w+(?:, trial)?: [\w ]+): (\d+) %(, \d+/\d+, loss \S+)?(, \d:\d\d:\d\d left)?")


class Terminal(io.StringIO):
    """A terminal that remembers."""

    def isatty(self):
        return True


class Notebook(io.StringIO):
    """The stdout of a notebook."""

    __module__ = "ipykernel.iostream"


@pytest.fixture
def shown(monkeypatch):
    """Calls a function and returns what was shown where stdout is some stream."""

    def call(function, stream=None):
        stream = io.StringIO() if stream is None else stream
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stream)
            function()
        assert not displays._one_bar.locked()
        return stream.getvalue()

    return call


@pytest.fixture(scope="module")
def fitted(pairs):
    """An estimator that shows its progress, fitted."""
    estimator = DivergenceRegularizedINN(max_iter=20, random_state=0, verbose=False)
    return estimator.fit(*pairs).set_params(verbose=True)


@pytest.fixture
def at_once(monkeypatch):
    """Progress is shown at once and always, and rows are worked on in small chunks."""
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(displays, "SECONDS", 0.0)
    monkeypatch.setattr(chunks, "MOST_ROWS", 30)
    monkeypatch.setattr(chunks, "MOST_VECTORS", 64 * 30)
    monkeypatch.setattr(chunks, "BASIS_ENTRIES", 2 * 30)


ONE_TRIAL = {"prior_bandwidth": 0.0}  # with the pairs, not with draws of a prior too


def fit(pairs, **parameters):
    options = {"solver": "adam", "max_iter": 30, "random_state": 0, "verbose": True}
    return DivergenceRegularizedINN(**options | parameters).fit(*pairs)


# -------------------------------------------------------------------------------------- training


def test_a_file_gets_a_line_per_tenth(shown, pairs, one_trial):
    lines = shown(lambda: fit(pairs, **ONE_TRIAL)).splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found)
    for title in ("DivergenceRegularizedINN, trial", "DivergenceRegularizedINN"):
        shares = [int(line[2]) for line in found if line[1] == f"{title}: DivergenceLoss"]
        assert shares == list(range(10, 101, 10))


def test_an_early_end_is_the_last_line(shown, pairs, one_trial):
    options = {"max_iter": 500, "tol": 1e3} | ONE_TRIAL
    last = shown(lambda: fit(pairs, **options)).splitlines()[-1]
    n_iter = fit(pairs, **options | {"verbose": False}).n_iter_
    assert n_iter < 500
    assert f"{n_iter}/500" in last


def test_validation_losses_are_shown_in_the_users_units(shown, pairs):
    estimator = LogDetRegularizedINN(solver="adam", max_iter=4, early_stopping=True, verbose=2)
    last = shown(lambda: estimator.set_params(random_state=0).fit(*pairs)).splitlines()[-1]
    assert f"loss {estimator.loss_curve_[-1]:.4g}" in last
    assert f"validation {estimator.validation_loss_curve_[-1]:.4g}" in last


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_shows_a_bar(rich, shown, pairs, monkeypatch):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    printed = shown(lambda: fit(pairs), Terminal())
    assert "DivergenceRegularizedINN: DivergenceLoss\n" in printed
    assert "\r" in printed
    assert ("━━━" if rich else "[" + 24 * "#" + "]") in printed
    assert "100 %, 30/30, loss" in printed
    assert rich or printed.isascii()


def test_a_notebook_shows_a_bar_without_ipywidgets(shown, pairs):
    with warnings.catch_warnings(record=True) as caught:
        printed = shown(lambda: fit(pairs), Notebook())
    assert not any("ipywidgets" in str(warning.message) for warning in caught)
    assert "\r[" + 24 * "#" + "] 100 %, 30/30, loss" in printed


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(shown, pairs, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert all(map(LINE.fullmatch, shown(lambda: fit(pairs), Terminal()).splitlines()))


class WriteOnly:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Broken(Terminal):
    def fileno(self):
        pytest.fail("Nothing else should be done to a stream that is broken.")

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_no_stream_changes_or_ends_the_training(solver, pairs, monkeypatch):
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    streams = [None, WriteOnly(), Broken(), closed(), ascii_only, Terminal(), Notebook()]
    pairs, options = [part[:80] for part in pairs], {"solver": solver, "max_iter": 10}
    expected = fit(pairs, **options, verbose=False).predict(pairs[1])
    for stream in streams:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stream)
            found = fit(pairs, **options).predict(pairs[1])
        assert np.array_equal(found, expected)
        assert not displays._one_bar.locked()
    assert LINE.fullmatch(streams[1].text.splitlines()[0])


def test_an_error_leaves_the_terminal_to_others(shown):
    def fail():
        with pytest.raises(ZeroDivisionError), displays.displayed("work") as display:
            display.show(0.5)
            raise ZeroDivisionError

    assert "50 %" in shown(fail, Terminal())  # the fixture looks whether the bar has ended


# ---------------------------------------------------------------------------------------- logger


def test_the_logger_gets_the_same_lines(shown, pairs, caplog):
    caplog.set_level(logging.INFO, logger="skinvbayes")
    printed = shown(lambda: fit(pairs))
    assert [record.getMessage() for record in caplog.records] == printed.splitlines()
    assert {record.name for record in caplog.records} == {"skinvbayes"}
    caplog.clear()
    assert shown(lambda: fit(pairs, verbose=False)) == ""
    assert not caplog.records


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_is_on_the_screen_twice(stream, shown, pairs, one_trial, monkeypatch):
    stream, logger = stream(), logging.getLogger("skinvbayes")
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, logging.StreamHandler(stream)])
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()
    try:
        lines = shown(lambda: fit(pairs, **ONE_TRIAL), stream).splitlines()
    finally:
        logger.manager._clear_cache()
    assert len(lines) == len(set(lines)) == 20
    assert all(map(LINE.fullmatch, lines))


def test_the_logger_is_silent_unless_it_is_asked():
    (handler,) = displays.LOGGER.handlers
    assert isinstance(handler, logging.NullHandler)
    assert displays.LOGGER.propagate and displays.LOGGER.level == logging.NOTSET


# ------------------------------------------------------------------------------ several at once


def test_workers_write_whole_lines():
    def shown_in_a_worker():  # is sent by value, so that workers import little
        import io
        import sys

        from skinvbayes.numerics.displays import displayed

        terminal = type("Terminal", (io.StringIO,), {"isatty": lambda self: True})
        before, sys.stdout = sys.stdout, terminal()
        try:
            with displayed("work") as display:
                for tenth in range(10):
                    display.show((tenth + 1) / 10)
            return sys.stdout.getvalue()
        finally:
            sys.stdout = before

    for printed in Parallel(n_jobs=2)(delayed(shown_in_a_worker)() for _ in range(2)):
        lines = printed.splitlines()
        assert len(lines) == 10
        assert all(line.startswith("work: ") and line.isascii() for line in lines)


def test_threads_share_one_bar(shown, pairs):
    def in_threads():
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(lambda seed: fit(pairs, random_state=seed), range(4)):
                pass

    assert "30/30" in shown(in_threads, Terminal())

    def beside_a_bar():
        with displays.displayed("another") as another:
            another.show(0.5)
            fit(pairs)

    printed = shown(beside_a_bar, Terminal())
    assert printed.count("DivergenceRegularizedINN: DivergenceLoss: ") == 10  # lines, and no bar


def test_lines_go_above_the_display_of_somebody_else(shown, pairs):
    terminal = Terminal()

    def beside_another():
        with rich.progress.Progress(console=rich.console.Console(file=terminal, width=200)) as bars:
            bars.add_task("a search")
            fit(pairs)

    printed = shown(beside_another, terminal)
    assert printed.count("DivergenceRegularizedINN: DivergenceLoss: ") == 10
    assert "a search" in printed


def test_searches_and_wrappers_show_the_progress_of_their_estimators(shown, pairs):
    estimator = DivergenceRegularizedINN(max_iter=4, random_state=0, verbose=True)
    search = GridSearchCV(estimator, {"epsilon": [0.05, 0.1]}, cv=2)
    printed = shown(lambda: search.fit(*pairs))
    assert printed.count("DivergenceRegularizedINN: DivergenceLoss: 100 %") == 5
    assert "100 %" in shown(lambda: Reconstructor(estimator).fit(*pairs[::-1]))


# ---------------------------------------------------------------------- predictions and the like

CALLS = {
    "predict": (("reconstruction",), {}),
    "transform": (("forward map",), {}),
    "inverse_transform": (("reconstruction",), {}),
    "jacobian": (("Jacobians",), {}),
    "prior_term": (("forward map",), {}),
    "posterior_covariance": (("reconstruction", "covariances"), {}),
    "posterior_interval": (("reconstruction", "covariances"), {}),
    "posterior_std": (("reconstruction", "standard deviations"), {"method": "probing"}),
    "sample_posterior": (
        ("reconstruction", "samples"),
        {"method": "probing", "random_state": 0},
    ),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("method", CALLS)
def test_long_calls_show_their_progress(method, fitted, shown, pairs):
    stages, options = CALLS[method]
    results = []
    for verbose in (True, False):
        fitted.set_params(verbose=verbose)
        call = getattr(fitted, method)
        printed = shown(lambda call=call: results.append(call(pairs[1], **options)))
        lines = [LINE.fullmatch(line) for line in printed.splitlines()]
        assert verbose or not lines
        for stage in stages if verbose else ():
            title = f"DivergenceRegularizedINN: {stage}"
            shares = [int(line[2]) for line in lines if line[1] == title]
            assert shares == sorted(set(shares))  # never backwards
            assert len(shares) >= 10 and shares[-1] == 100
    fitted.set_params(verbose=True)
    assert np.array_equal(*results)


@pytest.mark.usefixtures("at_once")
def test_missing_measurements_and_other_noise_levels_show_their_progress(fitted, shown, pairs):
    Y = pairs[1].copy()
    Y[::3, 0] = np.nan
    of_operator = fit(pairs, operator=np.eye(2), max_iter=3, verbose=False).set_params(verbose=True)
    assert shown(lambda: of_operator.predict(Y)).count("reconstruction: ") >= 10
    assert shown(lambda: fitted.predict(pairs[1], noise_level=0.4)).count("reconstruction: ") >= 10
    assert shown(lambda: fitted.score(*pairs)).count("reconstruction: ") >= 10


def test_short_calls_are_silent(fitted, shown, pairs):
    assert shown(lambda: fitted.predict(pairs[1])) == ""


def test_progress_within_a_row(monkeypatch, shown, fitted):
    """One row of many features is one chunk: its iterations tell how far it has come."""
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(displays, "SECONDS", 0.0)
    residuals = torch.tensor([1.0, 1e-2])

    def iterate():
        with progress.reporting(fitted):
            for _ in progress.tracked([0], "row"):
                for size in (1e-1, 1e-3, 1e-2, 1e-4):
                    progress.report_residuals(
                        torch.ones(2), size * residuals, torch.full((2,), 1e-6), n_rows=2
                    )

    shares = [int(LINE.fullmatch(line)[2]) for line in shown(iterate).splitlines()]
    assert shares == [33, 67, 83, 100]  # means of 1/6 and 1/2, 3/6 and 5/6, 4/6 and 1


def test_equations_of_one_row_tell_how_far_they_are(monkeypatch, shown, rng):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(displays, "SECONDS", 0.0)
    X = rng.standard_normal((60, 12)) / np.arange(1, 13)
    Y = X + 0.1 * rng.standard_normal(X.shape)
    estimator = fit((X, Y), operator=np.eye(12), verbose=False, max_iter=2)
    estimator.set_params(verbose=True)
    calls = {
        "standard deviations": lambda: estimator.posterior_std(Y[:1], method="probing"),
        "samples": lambda: estimator.sample_posterior(Y[:1], method="probing"),
    }
    for what, call in calls.items():
        assert sum(what in line for line in shown(call).splitlines()) > 3


def test_residuals_are_reported_to_nobody():
    ones = torch.ones(3)
    progress.report_residuals(ones, ones, ones)
    assert list(progress.tracked([1, 2], "numbers")) == [1, 2]
