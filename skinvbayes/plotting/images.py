"""Signals, measurements and reconstructions as images."""

import numpy as np
from sklearn.utils import check_consistent_length

from ..numerics.checks import check_fitted, check_has
from ..numerics.modes import OwnModes
from ..numerics.sklearn_compat import safe_indexing
from .axes import axes_or_new, finish

__all__ = ["ImagesDisplay"]


class ImagesDisplay(OwnModes):
    """Samples as images, one row for each kind, with a common grey scale.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        What to show, by its label.
    image_shape : tuple of int
        Height and width.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    """

    def __init__(self, rows, image_shape):
        self.rows = rows
        self.image_shape = image_shape

    @classmethod
    def from_estimator(cls, estimator, X, y, *, image_shape, n_images=10, ax=None, **kwargs):
        """Truth, measurement (where it is an image of this shape too) and reconstruction.

        Parameters
        ----------
        estimator : fitted estimator
            One of the four estimators.
        X : array-like of shape (n_samples, n_pixels)
            Signals.
        y : array-like of shape (n_samples, n_measurements) or (n_samples,)
            Measurements.
        image_shape : tuple of int
            Height and width.
        n_images : int, default=10
            How many of the first samples to show.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : ImagesDisplay
            The display, drawn.
        """
        check_fitted(estimator, "predict")
        check_consistent_length(X, y)
        first = list(range(min(n_images, len(y))))
        found = estimator.predict(safe_indexing(y, first))
        X, y = (np.asarray(safe_indexing(part, first)) for part in (X, y))
        rows = {"truth": X}
        if y.shape == X.shape:
            rows["measurement"] = y
        rows[type(estimator).__name__] = found
        return cls.from_predictions(rows, image_shape=image_shape, ax=ax, **kwargs)

    @classmethod
    def from_predictions(cls, rows, *, image_shape, ax=None, **kwargs):
        """Rows of images by their labels; ``kwargs`` as in :meth:`plot`."""
        return cls(rows, image_shape).plot(ax=ax, **kwargs)

    def plot(self, *, ax=None, title=None, vmin=0.0, vmax=1.0):
        """Draw the images beside a bar of the grey scale.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        vmin, vmax : float
            The values that are black and white.

        Returns
        -------
        display : ImagesDisplay
            The display, drawn.
        """
        check_has(self.rows, "rows", "keys", "values")
        if not self.rows:
            raise ValueError("rows is empty: give one kind of images at least.")
        height, width = self.image_shape
        n_images = min(len(images) for images in self.rows.values())
        size = (0.9 * n_images + 4.5, 0.9 * len(self.rows) * height / width + 0.6)
        ax = axes_or_new(ax, figsize=size, layout="compressed")
        mosaic = np.full((len(self.rows), height + 1, n_images, width + 1), np.nan)
        for row, images in zip(mosaic, self.rows.values(), strict=True):
            pixels = np.reshape(images[:n_images], (n_images, height, width))
            row[:height, :, :width] = pixels.transpose(1, 0, 2)
        mosaic = mosaic.reshape(len(self.rows) * (height + 1), -1)[:-1, :-1]
        image = ax.imshow(mosaic, cmap="gray", vmin=vmin, vmax=vmax)
        centres = (height - 1) / 2 + (height + 1) * np.arange(len(self.rows))
        ax.set(xticks=[], yticks=centres, yticklabels=self.rows)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.figure.colorbar(image, ax=ax, extend="both", label="grey value", fraction=0.03)
        return finish(self, ax, title)
