"""The command line: ``python -m skinvbayes`` runs the demo, ``reproduce`` the paper's figures.

The exit status is 0; 2 after one line on stderr, where the caller can change something; 130 after
Ctrl-C; 141 where nobody reads on.
"""

import os
import signal
import sys

from .commands.options import PROGRAM, parse_arguments

_FAILED, _INTERRUPTED, _UNREAD = 2, 130, 141


def main(arguments=None):
    """Run the command.

    Parameters
    ----------
    arguments : list of str, default=None
        The arguments; by default those of the process.

    Raises
    ------
    SystemExit
        With status 2, if the arguments, the output folder, the memory or the installation do not
        allow what was asked for.
    """
    options = parse_arguments(arguments)
    try:
        _run(options)
    except BrokenPipeError:
        raise
    except (ImportError, MemoryError, OSError) as error:
        _fail(_in_one_line(error))


def _run(options):
    """Import what the command needs, which takes seconds, and run it."""
    import matplotlib

    from .commands.console import Printer

    matplotlib.use("Agg")
    from .commands import demo, reproduce  # after what is quickly found to be missing

    command = demo if options.command is None else reproduce
    command.main(options, Printer())


def _fail(message):
    """Say what is wrong, and end."""
    print(f"{PROGRAM}: error: {message}", file=sys.stderr)
    sys.exit(_FAILED)


def _in_one_line(error):
    """What happened and what to change."""
    missing = (getattr(error, "name", None) or "").partition(".")[0]
    if missing in ("matplotlib", "rich"):
        return f'{missing} is missing: pip install "skinvbayes[plot,progress]"'
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot write to {str(error.filename)!r}: {error.strerror}; choose another --output"
    if isinstance(error, MemoryError):
        return "not enough memory: lower --n-train or --n-test"
    return " ".join(str(error).split())


def run():
    """Run the command as a process: its exit status, and signals, as of other tools."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # δ and φ on a terminal or in a file without them
            stream.reconfigure(errors="replace")
    # a KeyboardInterrupt would end one training, and the command would go on with the next
    signal.signal(signal.SIGINT, lambda *_: sys.exit(_INTERRUPTED))
    try:
        try:
            main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:  # of stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        if isinstance(error, BrokenPipeError):
            sys.exit(_UNREAD)
        _fail(_in_one_line(error))
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            print(f"{PROGRAM}: interrupted", file=sys.stderr)
        raise


if __name__ == "__main__":
    run()
