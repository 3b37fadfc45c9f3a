"""Signals, measurements and reconstructions as images."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length

from ..numerics.checks import check_fitted, check_has
from ..numerics.errors import entry_rmse
from ..numerics.modes import OwnModes
from ..numerics.sklearn_compat import safe_indexing
from .axes import axes_or_new, finish

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ImagesDisplay"]

_INCHES = 0.95  # width of an image
_CAPTION = 0.22  # height of the line below an image, relative to the width of that


class ImagesDisplay(OwnModes):
    """Samples as images, one row for each kind, with a common grey scale.

    Parameters
    ----------
    rows : dict of str to ndarray of shape (n_images, n_pixels)
        What to show, by its label.
    image_shape : tuple of int
        Height and width.
    truth : str, default="truth"
        Label of the row of true images.
    errors : sequence of str, default=()
        Labels of the rows of reconstructions. Each gets a row below it that shows its errors, the
        reconstruction minus the truth, in colours, and the root mean square error of each image.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    image_ : matplotlib AxesImage
        The images.
    error_image_ : matplotlib AxesImage or None
        The errors.
    rmse_ : dict of str to ndarray of shape (n_images,)
        The root mean square errors of the images, by the labels in ``errors``.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.plotting import ImagesDisplay
    >>> truth = np.random.RandomState(0).uniform(size=(3, 16))
    >>> rows = {"truth": truth, "guess": truth + 0.1}
    >>> display = ImagesDisplay.from_predictions(rows, image_shape=(4, 4), errors=["guess"])
    >>> display.rmse_["guess"].round(3).tolist()
    [0.1, 0.1, 0.1]
    """

    def __init__(
        self,
        rows: Any,
        image_shape: tuple[int, ...],
        *,
        truth: ArrayLike = "truth",
        errors: ArrayLike = (),
    ):
        self.rows = rows
        self.image_shape = image_shape
        self.truth = truth
        self.errors = errors

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        image_shape: tuple[int, ...],
        n_images: int = 10,
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Truth, measurement (where it is an image of this shape too), reconstruction and errors.

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
        first = list(range(min(n_images, np.shape(y)[0])))
        found = estimator.predict(safe_indexing(y, first))
        X, y = (np.asarray(safe_indexing(part, first)) for part in (X, y))
        rows = {"truth": X}
        if y.shape == X.shape:
            rows["measurement"] = y
        name = type(estimator).__name__
        rows[name] = found
        kwargs = {"errors": [name]} | kwargs
        return cls.from_predictions(rows, image_shape=image_shape, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        rows: Any,
        *,
        image_shape: tuple[int, ...],
        truth: ArrayLike = "truth",
        errors: ArrayLike = (),
        ax: Any = None,
        **kwargs: Any,
    ) -> "Self":
        """Rows of images by their labels; ``kwargs`` as in :meth:`plot`."""
        return cls(rows, image_shape, truth=truth, errors=errors).plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        title: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        error_limit: float | None = None,
    ) -> "Self":
        """Draw the images beside a bar of the grey scale, and one of the colours of the errors.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default. The bars of the scales are to the right of it,
            which needs space there, such as in a figure with ``layout="constrained"``.
        title : str, default=None
            Title of the axes.
        vmin, vmax : float, default=None
            The values that are black and white. By default they are 0 and 1 if the first row is
            within, and its lowest and highest value otherwise.
        error_limit : float, default=None
            The errors with the darkest colours are this and minus this. By default the size that 1
            of 100 errors exceeds.

        Returns
        -------
        display : ImagesDisplay
            The display, drawn.
        """
        rows = self._checked()
        shown = self._with_errors(rows)
        grey, coloured, starts = _mosaics(shown, self.image_shape)
        ax = axes_or_new(
            ax, figsize=_figure_size(grey.shape, self.image_shape), layout="compressed"
        )
        low, high = _grey_range(next(iter(rows.values())))
        limits = {"vmin": low if vmin is None else vmin, "vmax": high if vmax is None else vmax}
        self.image_ = ax.imshow(grey, cmap="gray", **limits)
        self.error_image_ = None
        self._add_bar(ax, self.image_, "grey value", (0.54, 0.46) if self.rmse_ else (0, 1))
        if self.rmse_:
            limit = _error_limit(coloured) if error_limit is None else error_limit
            self.error_image_ = ax.imshow(coloured, cmap="RdBu_r", vmin=-limit, vmax=limit)
            self._add_bar(ax, self.error_image_, "error", (0, 0.46))
            self._write_rmse(ax, starts, shown)
        centres = starts + (self.image_shape[0] - 1) / 2
        ax.set(xticks=[], yticks=centres, yticklabels=[row.label for row in shown])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        return finish(self, ax, title)

    def _checked(self):
        """The rows as images, equally many of each kind."""
        check_has(self.rows, "rows", "keys", "values")
        if not self.rows:
            raise ValueError("rows is empty: give one kind of images at least.")
        needed = [*self.errors, *([self.truth] if len(self.errors) else [])]
        lacking = [label for label in needed if label not in self.rows]
        if lacking:
            raise ValueError(
                f"Errors are the differences of rows, and none is called {lacking[0]!r}: rows "
                f"has {', '.join(map(repr, self.rows))}."
            )
        n_images = min(len(images) for images in self.rows.values())
        shape = n_images, *self.image_shape
        return {
            label: np.reshape(np.asarray(images)[:n_images], shape)
            for label, images in self.rows.items()
        }

    def _with_errors(self, rows):
        """What is drawn, from above: errors are below the images that have them."""
        shown, self.rmse_ = [], {}
        for label, images in rows.items():
            shown.append(_Row(label, images))
            if label in self.errors:
                truth = rows[self.truth]
                self.rmse_[label] = np.array(list(map(entry_rmse, images, truth)))
                shown.append(_Row("error, RMSE", images - truth, self.rmse_[label]))
        return shown

    def _add_bar(self, ax, image, label, place):
        """A bar of the colours of an image beside it, from a height on and so high."""
        width = (self.image_shape[1] + 1) / image.get_array().shape[1]  # that of one image
        bar = ax.inset_axes([1 + 0.15 * width, place[0], 0.12 * width, place[1]])
        ax.figure.colorbar(image, cax=bar, extend="both", label=label)

    def _write_rmse(self, ax, starts, shown):
        """The root mean square errors below the images of the errors."""
        height, width = self.image_shape
        for start, row in zip(starts, shown, strict=True):
            for n, rmse in enumerate([] if row.rmse is None else row.rmse):
                place = n * (width + 1) + (width - 1) / 2, start + height - 0.4
                ax.text(*place, f"{rmse:.3g}", ha="center", va="top", fontsize="x-small")


class _Row(NamedTuple):
    """A row of the mosaic."""

    label: str
    images: np.ndarray  # of shape (n_images, height, width)
    rmse: np.ndarray | None = None  # of the errors that these images show


def _mosaics(shown, image_shape):
    """Images and errors side by side, NaN between them, and the first line of every row."""
    height, width = image_shape
    caption = int(np.ceil(_CAPTION * width))
    heights = [height + 1 + (0 if row.rmse is None else caption) for row in shown]
    starts = np.cumsum([0, *heights])
    n_images = len(shown[0].images)
    grey, coloured = np.full((2, starts[-1], n_images, width + 1), np.nan)
    for start, row in zip(starts, shown, strict=False):
        mosaic = grey if row.rmse is None else coloured
        mosaic[start : start + height, :, :width] = row.images.transpose(1, 0, 2)
    n_lines = starts[-1] - (1 if shown[-1].rmse is None else 0)
    flat = (mosaic.reshape(len(mosaic), -1)[:n_lines, :-1] for mosaic in (grey, coloured))
    return *flat, starts[:-1]


def _figure_size(shape, image_shape):
    """Width and height in inches; an image is as wide as _INCHES, and labels need space."""
    n_lines, n_columns = shape
    pixel = _INCHES / (image_shape[1] + 1)
    return pixel * n_columns + 4.5, max(pixel * n_lines + 0.6, 1.5)


def _grey_range(images):
    """0 and 1 for images within, and otherwise their lowest and highest value."""
    low, high = float(np.nanmin(images)), float(np.nanmax(images))
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _error_limit(errors):
    """The size that one error of a hundred exceeds; 1 if there are no errors."""
    return float(np.nanquantile(np.abs(errors), 0.99)) or 1.0
