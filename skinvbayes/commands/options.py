"""The options of the commands, checked before anything is computed or imported."""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FIGURE_NUMBERS", "PROGRAM", "Run", "parse_arguments"]

PROGRAM = "python -m skinvbayes"
FIGURE_NUMBERS = ("1", "3", "4", "5")
_FEWEST_PAIRS, _MOST_PAIRS = 20, 10**7
_MOST_EPOCHS = 10**6
_LARGEST_SEED = 2**32 - 2  # the test pairs have the next one


@dataclass
class Run:
    """How much to compute, and from which seed.

    Attributes
    ----------
    n_train, n_test : int
        Numbers of pairs.
    seed : int
        Seed of data and networks; the test pairs have the next one.
    verbose : bool
        Whether to show the progress of every training.
    """

    n_train: int = 8000
    n_test: int = 8000
    seed: int = 0
    verbose: bool = False

    @classmethod
    def from_options(cls, options):
        """What the command line asks for."""
        return cls(options.n_train, options.n_test, options.seed, not options.quiet)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        message = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {message} (--help lists the options)\n")


def parse_arguments(arguments):
    """The command line as a Namespace; ``command`` is None for the demo.

    Parameters
    ----------
    arguments : list of str or None
        The arguments; None for those of the process.

    Raises
    ------
    SystemExit
        With status 2 and one line on stderr, if something is wrong; with 0 after ``--help``.
    """
    from .._version import __version__

    style = argparse.ArgumentDefaultsHelpFormatter
    parser = _Parser(
        prog=PROGRAM,
        description="Train the four estimators on a 2-D problem beside the exact posterior mean "
        "and MAP, then deblur handwritten digits. Prints two tables, writes two pictures.",
        formatter_class=style,
    )
    parser.add_argument("--version", action="version", version=f"skinvbayes {__version__}")
    _add_common_arguments(parser, n_train=4000, n_test=4000, folder="skinvbayes-demo")
    parser.add_argument(
        "--noise-level", type=_level, default=0.4, help="δ of the 2-D problem, between 0.001 and 10"
    )
    parser.add_argument(
        "--digits-epochs",
        type=_integer(1, _MOST_EPOCHS),
        default=200,
        help="largest number of epochs on the digits",
    )
    commands = parser.add_subparsers(title="other commands", metavar="command", dest="command")
    figures = commands.add_parser(
        "reproduce",
        help="the figures of the paper",
        description="Reproduce figures of the paper: writes a picture, a table (CSV) and the "
        "numbers with all settings (JSON) for each.",
        formatter_class=style,
    )
    _add_common_arguments(
        figures, n_train=Run.n_train, n_test=Run.n_test, folder="skinvbayes-figures"
    )
    choices = [*FIGURE_NUMBERS, "all"]
    figures.add_argument("--figure", choices=choices, default="all", help="which figure")
    options = parser.parse_args(arguments)
    _refuse_options_before(options.command, parser, arguments)
    return options


def _refuse_options_before(command, parser, arguments):
    """Options before a command would be those of the demo, and forgotten."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if command is not None and arguments[0] != command:
        parser.error(f"options of {command} come after its name, as in {command} --seed 1")


def _add_common_arguments(parser, *, n_train, n_test, folder):
    """Options for the seed, the numbers of pairs, the output folder and the progress."""
    seed, n_pairs = _integer(0, _LARGEST_SEED), _integer(_FEWEST_PAIRS, _MOST_PAIRS)
    parser.add_argument("--seed", type=seed, default=0, help="seed of data and networks")
    parser.add_argument("--n-train", type=n_pairs, default=n_train, help="training pairs in 2-D")
    parser.add_argument("--n-test", type=n_pairs, default=n_test, help="test pairs in 2-D")
    parser.add_argument("--output", type=_folder, default=Path(folder), help="folder")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _integer(least, most):
    """Reads an integer between two others."""

    def read(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected an integer between {least} and {most}; got {_shortened(text)}"
            )
        return value

    return read


def _level(text):
    """Reads a noise level."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1e-3 <= value <= 10:
        raise argparse.ArgumentTypeError(
            f"expected a number between 0.001 and 10; got {_shortened(text)}"
        )
    return value


def _folder(text):
    """Reads the name of a folder."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(
            f"expected the name of a folder, '.' for this one; got {_shortened(text)}"
        )
    return Path(text)


def _shortened(text):
    return repr(text if len(text) <= 40 else text[:40] + "…")
