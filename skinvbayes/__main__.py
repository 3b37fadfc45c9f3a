"""The command line: ``python -m skinvbayes`` runs the demo, ``reproduce`` the paper's figures."""

import argparse

import matplotlib
from rich.console import Console

from .commands import demo, reproduce


def parse_arguments(arguments):
    """The command line."""
    style = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m skinvbayes",
        description="Train the four estimators on a 2-D problem beside the exact posterior mean "
        "and MAP, then deblur handwritten digits. Prints two tables, writes two pictures.",
        formatter_class=style,
    )
    demo.add_arguments(parser)
    parser.set_defaults(main=demo.main)
    commands = parser.add_subparsers(title="other commands", metavar="")
    figures = commands.add_parser(
        "reproduce",
        help="the figures of the paper",
        description="Reproduce figures of the paper: writes a picture, a table (CSV) and the "
        "numbers with all settings (JSON) for each.",
        formatter_class=style,
    )
    reproduce.add_arguments(figures)
    figures.set_defaults(main=reproduce.main)
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the command."""
    options = parse_arguments(arguments)
    matplotlib.use("Agg")
    options.main(options, Console(width=110))


if __name__ == "__main__":
    main()
