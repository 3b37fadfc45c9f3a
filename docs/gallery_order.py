"""The order of the examples in the gallery."""

from pathlib import Path

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
