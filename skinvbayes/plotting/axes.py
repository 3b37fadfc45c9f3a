"""What all displays share: the axes they draw on and what they leave behind."""

__all__ = ["axes_or_new", "finish"]


def axes_or_new(ax, **figure):
    """The axes that were handed over, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(**figure)[1]


def finish(display, ax, title):
    """Set the title, and keep axes and figure in the display."""
    if title is not None:
        ax.set_title(title)
    display.ax_, display.figure_ = ax, ax.figure
    return display
