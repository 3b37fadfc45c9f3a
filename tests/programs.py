"""Programs in processes of their own; this module imports little, so that they do not either."""

import contextlib
import io
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

__all__ = ["METHOD", "PRELOADED", "in_a_process", "printed_by"]

METHOD = "forkserver" if sys.platform == "linux" else "spawn"  # elsewhere copies may crash
PRELOADED = ["torch", "sklearn.metrics", "sklearn.model_selection", "scipy.stats", "distributed"]


def in_a_process(function, *arguments):
    """What a function returns in a new process; see ``warm_processes`` in conftest.py."""
    context = multiprocessing.get_context(METHOD)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result(120)


def printed_by(program, names):
    """What a program prints that has some names already, and imports the package itself."""
    assert "skinvbayes" not in sys.modules
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "program", "exec"), {"__name__": "program", **names})
    return printed.getvalue()
