"""How the gallery shows the examples; those that build it in parallel import this, not conf.py."""

import warnings
from pathlib import Path
from textwrap import fill

import matplotlib

EXAMPLES = [  # the order of the thumbnails
    *("five_lines", "search_epsilon", "trusted_pixels"),
    *("spectrometer", "sensors_with_gaps", "dead_detectors", "without_pairs"),
    *("whole_photos", "larger_than_memory", "learned_prior"),
    *("figure_1_grids", "figure_3_euler_steps"),
    *("figure_4_two_errors", "figure_5_small_singular_value"),
]


def by_name(filename):
    """Place of an example in the gallery; one that the list above lacks comes last."""
    name = Path(filename).stem.removeprefix("plot_")
    return EXAMPLES.index(name) if name in EXAMPLES else len(EXAMPLES)


def begin(gallery_conf, filename):
    """Before each example: no windows, and warnings that teach something, short."""
    matplotlib.use("Agg")
    warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")
    warnings.formatwarning = short_warning


def short_warning(message, category, *where):
    """What a warning says, without the folder in which the site is built."""
    return fill(f"{category.__name__}: {message}", 90) + "\n"
