"""Pictures of what was learned, in scikit-learn's Display convention."""

import numpy as np

__all__ = ["DeformedGridDisplay", "ImagesDisplay"]


class DeformedGridDisplay:
    """An equidistant grid of measurements and where a reconstruction sends it.

    Parameters
    ----------
    lines : ndarray of shape (n_lines, n_points, 2)
        The images of the grid's lines.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    """

    def __init__(self, lines):
        self.lines = lines

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs):
        """Deform the grid by ``estimator.predict``; ``kwargs`` as in :meth:`from_function`."""
        return cls.from_function(estimator.predict, ax=ax, **kwargs)

    @classmethod
    def from_function(cls, function, *, limit=2.0, n_lines=21, n_points=81, ax=None, title=None):
        """Deform the grid by any map of the plane.

        Parameters
        ----------
        function : callable
            Map of arrays of shape (n_samples, 2).
        limit : float, default=2.0
            The grid covers [−limit, limit]².
        n_lines, n_points : int
            Lines in each direction, and points on each line.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.

        Returns
        -------
        display : DeformedGridDisplay
            The display, drawn.
        """
        level, along = np.linspace(-limit, limit, n_lines), np.linspace(-limit, limit, n_points)
        upright = np.stack(np.meshgrid(level, along, indexing="ij"), axis=-1)
        lines = np.concatenate([upright, upright[:, :, ::-1]])
        image = function(lines.reshape(-1, 2)).reshape(lines.shape)
        return cls(image).plot(ax=ax, title=title, limit=limit)

    def plot(self, *, ax=None, title=None, limit=2.0):
        """Draw the lines; those that were vertical in blue, the horizontal ones in orange."""
        ax = _axes(ax)
        half = len(self.lines) // 2
        for lines, colour in ((self.lines[:half], "tab:blue"), (self.lines[half:], "tab:orange")):
            ax.plot(*lines.transpose(2, 1, 0), color=colour, linewidth=0.6)
        ax.set(
            xlim=(-limit, limit),
            ylim=(-limit, limit),
            xlabel="$x_1$",
            ylabel="$x_2$",
            title=title,
            aspect="equal",
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self


class ImagesDisplay:
    """Samples as images, one row for each kind, with a common grey scale.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        What to show, by its label.
    image_shape : tuple of int
        Height and width.
    """

    def __init__(self, rows, image_shape):
        self.rows = rows
        self.image_shape = image_shape

    def plot(self):
        """Draw on a new figure.

        Returns
        -------
        display : ImagesDisplay
            With ``figure_`` and ``axes_`` (n_rows, n_images).
        """
        import matplotlib.pyplot as plt

        n_images = min(len(images) for images in self.rows.values())
        self.figure_, self.axes_ = plt.subplots(
            len(self.rows),
            n_images,
            figsize=(1.1 * n_images + 1.5, 1.15 * len(self.rows)),
            squeeze=False,
            layout="constrained",
        )
        for axes, (label, images) in zip(self.axes_, self.rows.items(), strict=True):
            for ax, image in zip(axes, images, strict=False):
                ax.imshow(image.reshape(self.image_shape), cmap="gray", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
            axes[0].set_ylabel(label, rotation=0, ha="right", va="center")
        return self


def _axes(ax):
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]
