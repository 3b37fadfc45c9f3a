"""Where progress is shown: as a bar on a terminal or in a notebook, elsewhere as a line per tenth.

The logger ``skinvbayes`` gets the same lines at level INFO. Where its handlers already write on the
screen, they take the place of bar and lines.
"""

import logging
import multiprocessing
import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager, suppress

__all__ = ["LOGGER", "displayed"]

LOGGER = logging.getLogger("skinvbayes")
LOGGER.addHandler(logging.NullHandler())  # else warnings would be printed by logging's last resort

SECONDS = 0.25  # between two changes of a bar
_BAR_LENGTH, _WIDTH = 24, 100  # of a bar of text; columns of a screen that does not tell them
_FAILURES = (OSError, ValueError)  # a pipe or file that was closed, or a character it cannot take
_one_bar = threading.Lock()  # held by the only bar of the process


@contextmanager
def displayed(title, *, delay=0.0):
    """Show how far some work has come, while the context lasts.

    Parameters
    ----------
    title : str
        What is being done.
    delay : float, default=0.0
        Seconds before anything is shown, so that short work stays silent.

    Yields
    ------
    display : Display
        Its method ``show(share, note)`` is told the progress.
    """
    display = Display(title, delay)
    try:
        yield display
    finally:
        display.close()


class Display:
    """The progress of one piece of work; see :func:`displayed`."""

    def __init__(self, title, delay=0.0):
        self.title, self.delay, self.began = title, delay, time.monotonic()
        self.share, self.note, self.next = 0.0, str, self.began + delay
        self.tenth, self.unsaid, self.screen = 0, False, None

    @property
    def is_due(self):
        """Whether it is time to change a bar."""
        return time.monotonic() >= self.next

    def show(self, share, note=str):
        """Show the share that is done, at most a few times in a second.

        Parameters
        ----------
        share : float
            Between 0 and 1.
        note : callable, default=str
            Gives more text; called only when something is shown.
        """
        self.unsaid = self.unsaid or share != self.share
        self.share, self.note = share, note
        tenth = int(10 * share + 1e-9)
        if time.monotonic() < self.began + self.delay or not (self.is_due or tenth > self.tenth):
            return
        self._show(says_line=tenth > self.tenth)
        self.tenth = tenth

    def close(self):
        """Show the last state, and free the screen."""
        if self.screen is not None:
            if self.unsaid:
                self._show(says_line=True)
            self._on_screen("close")

    def _show(self, says_line):
        if self.screen is None:
            self.screen = _screen_for(self.title)
            self._on_screen("open")
        text = self._text()
        self.next = time.monotonic() + SECONDS
        self._on_screen("draw", self.share, text)
        if says_line:
            self.unsaid = False
            self._on_screen("say", f"{self.title}: {text}")
            LOGGER.info("%s: %s", self.title, text)

    def _on_screen(self, method, *arguments):
        """Do something on the screen; work goes on unseen where nothing can be written any more."""
        screen = self.screen
        try:
            getattr(screen, method)(*arguments)
        except _FAILURES:
            self.screen = _Nothing()
            with suppress(*_FAILURES):
                screen.close()

    def _text(self):
        parts = [f"{100 * self.share:.0f} %", self.note()]
        if 0 < self.share < 1:
            seconds = (time.monotonic() - self.began) * (1 - self.share) / self.share
            minutes, seconds = divmod(int(seconds), 60)
            hours, minutes = divmod(minutes, 60)
            parts.append(f"{hours}:{minutes:02}:{seconds:02} left")
        return ", ".join(part for part in parts if part)


class _Nothing:
    """Nothing is shown."""

    def open(self):
        """Begin."""

    def draw(self, share, text):
        """Change the bar."""

    def say(self, line):
        """Write a line."""

    def close(self):
        """Leave the screen to others."""


class _Lines(_Nothing):
    """A line per tenth, each written as a whole, so that lines of several workers do not mix."""

    def __init__(self, stream):
        self.stream = stream

    def say(self, line):
        _write(self.stream, line + "\n")


class _Bar(_Nothing):
    """A bar below its title; there is one at a time."""

    def close(self):
        try:
            self.end()
        finally:
            _one_bar.release()


class _TextBar(_Bar):
    """A bar of plain characters, which every terminal and every notebook can show."""

    def __init__(self, title, stream):
        self.title, self.stream, self.length = title, stream, 0

    def open(self):
        _write(self.stream, self.title + "\n")

    def draw(self, share, text):
        n_done = round(_BAR_LENGTH * share)
        bar = "#" * n_done + "." * (_BAR_LENGTH - n_done)
        width = shutil.get_terminal_size((_WIDTH, 0)).columns - 1
        line = f"[{bar}] {text}"[:width]
        _write(self.stream, "\r" + line.ljust(self.length))
        self.length = len(line)

    def end(self):
        _write(self.stream, "\n")


class _RichBar(_Bar):
    """A bar that rich draws; without a thread, which would compete with the work."""

    def __init__(self, title, stream):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = BarColumn(), TextColumn("{task.fields[text]}", markup=False)
        console = Console(file=stream, force_jupyter=False)
        console.on_broken_pipe = _raise_again  # rich would end the process
        self.title, self.progress = title, Progress(*columns, console=console, auto_refresh=False)
        self.task = self.progress.add_task("", total=1, text="")

    def open(self):
        self.progress.console.print(self.title, markup=False, highlight=False)
        self.progress.start()

    def draw(self, share, text):
        self.progress.update(self.task, completed=share, text=text, refresh=True)

    def end(self):
        self.progress.stop()


def _raise_again():
    """Raise the error that is being handled."""
    raise


def _write(stream, text):
    stream.write(text)
    if hasattr(stream, "flush"):  # what stands in for a file may have ``write`` only
        stream.flush()


def _screen_for(title):
    """What suits ``sys.stdout``."""
    stream = sys.stdout
    if stream is None or getattr(stream, "closed", False) or _logged_on_screen():
        return _Nothing()
    if _is_terminal(stream):
        bar = _terminal_bar(title, stream)
    elif _is_notebook(stream):  # where rich needs ipywidgets
        bar = _TextBar(title, stream)
    else:
        return _Lines(stream)
    return bar if _one_bar.acquire(blocking=False) else _Lines(stream)


def _terminal_bar(title, stream):
    try:
        return _RichBar(title, stream)
    except ImportError:
        return _TextBar(title, stream)


def _is_terminal(stream):
    """Whether a stream is a terminal that has this process to itself."""
    shared = multiprocessing.parent_process() is not None or hasattr(stream, "rich_proxied_file")
    can_move = os.environ.get("TERM") != "dumb"
    return can_move and not shared and hasattr(stream, "isatty") and stream.isatty()


def _is_notebook(stream):
    return type(stream).__module__.startswith("ipykernel")


def _logged_on_screen():
    """Whether the logger's messages of level INFO reach the screen."""
    logger = LOGGER if LOGGER.isEnabledFor(logging.INFO) else None
    while logger is not None:
        if any(h.level <= logging.INFO and _is_on_screen(h) for h in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _is_on_screen(handler):
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    stream = getattr(handler, "stream", None)
    return hasattr(handler, "console") or (stream is not None and stream in streams)
