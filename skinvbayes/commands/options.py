"""The options that both commands have."""

from pathlib import Path

__all__ = ["add_common_arguments"]


def add_common_arguments(parser, *, n_train, n_test, folder):
    """Options for the seed, the numbers of pairs, the output folder and the progress bars.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Takes the options.
    n_train, n_test : int
        Default numbers of pairs of the two-dimensional problems.
    folder : str
        Default output folder.
    """
    parser.add_argument("--seed", type=int, default=0, help="seed of data and networks")
    parser.add_argument("--n-train", type=int, default=n_train, help="training pairs in 2-D")
    parser.add_argument("--n-test", type=int, default=n_test, help="test pairs in 2-D")
    parser.add_argument("--output", type=Path, default=Path(folder), help="folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
