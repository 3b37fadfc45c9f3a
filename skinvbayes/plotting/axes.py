"""What all displays share: the axes to draw on, and the attributes that a drawn display has."""

import numpy as np

from ..numerics.checks import check_has

__all__ = ["axes_or_new", "darker", "finish", "with_colour"]


def axes_or_new(ax, *, several=False, **figure):
    """The given axes, or those of a new figure made with the keywords ``figure``.

    Several axes may be an array of them.
    """
    if ax is not None:
        for one in np.ravel(ax) if several else [ax]:
            check_has(one, "ax", "plot", "set", "figure")
        return ax
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ImportError(
            'Displays are drawn by matplotlib: pip install "skinvbayes[plot]".'
        ) from error
    return plt.subplots(**figure)[1]


def finish(display, ax, title):
    """Set the title, store ``ax_`` and ``figure_`` on the display, and return the display."""
    if title is not None:
        ax.set_title(title)
    display.ax_, display.figure_ = ax, ax.figure
    return display


def darker(colour):
    """A darker shade of a colour, for a second curve beside the first."""
    from matplotlib.colors import to_rgb

    return tuple(0.55 * part for part in to_rgb(colour))


def with_colour(ax, style):
    """Keywords of a line with a colour: the next one of the axes, unless one is given."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    (line,) = ax.plot([], [])
    line.remove()
    return {"color": line.get_color()} | normalize_kwargs(style, Line2D)
