"""Pictures of what was learned, in scikit-learn's Display convention.

Every display is made by ``from_estimator`` or, from numbers at hand, by ``from_predictions``; it
draws on ``ax`` or on a new figure, and has them as ``ax_`` and ``figure_``. Several of them share
axes when they are handed the same ``ax``. matplotlib is imported when something is drawn.
"""

import numpy as np
from scipy.stats import norm
from sklearn.model_selection import ValidationCurveDisplay

__all__ = [
    "DeformedGridDisplay",
    "EpsilonPathDisplay",
    "ErrorTradeOffDisplay",
    "ImagesDisplay",
    "LossCurveDisplay",
    "UncertaintyDisplay",
    "VectorFieldDisplay",
]


class DeformedGridDisplay:
    """An equidistant grid of measurements in the plane and where a reconstruction sends it.

    Parameters
    ----------
    lines : ndarray of shape (n_lines, n_points, 2)
        The images of the grid's lines; the first half of them were vertical.
    limit : float, default=2.0
        The grid covered [−limit, limit]².

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    """

    def __init__(self, lines, *, limit=2.0):
        self.lines = lines
        self.limit = limit

    @staticmethod
    def grid(*, limit=2.0, n_lines=21, n_points=81):
        """The grid, ``n_lines`` in each direction, as points of shape (n_samples, 2)."""
        level, along = np.linspace(-limit, limit, n_lines), np.linspace(-limit, limit, n_points)
        upright = np.stack(np.meshgrid(level, along, indexing="ij"), axis=-1)
        return np.concatenate([upright, upright[:, :, ::-1]]).reshape(-1, 2)

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
        image = function(cls.grid(limit=limit, n_lines=n_lines, n_points=n_points))
        return cls.from_predictions(image, limit=limit, n_lines=n_lines, ax=ax, title=title)

    @classmethod
    def from_predictions(cls, X_reconstructed, *, limit=2.0, n_lines=21, ax=None, title=None):
        """Draw the grid from the reconstructions of :meth:`grid`.

        Parameters
        ----------
        X_reconstructed : array-like of shape (n_samples, 2)
            Where the points of the grid are sent.
        limit, n_lines
            As they were given to :meth:`grid`.
        ax, title
            As in :meth:`from_function`.

        Returns
        -------
        display : DeformedGridDisplay
            The display, drawn.
        """
        lines = np.reshape(X_reconstructed, (2 * n_lines, -1, 2))
        return cls(lines, limit=limit).plot(ax=ax, title=title)

    def plot(self, *, ax=None, title=None):
        """Draw the lines; those that were vertical in blue, the horizontal ones in orange."""
        ax = _axes(ax)
        half = len(self.lines) // 2
        for lines, colour in ((self.lines[:half], "tab:blue"), (self.lines[half:], "tab:orange")):
            ax.plot(*lines.transpose(2, 1, 0), color=colour, linewidth=0.6)
        limits = (-self.limit, self.limit)
        ax.set(xlim=limits, ylim=limits, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        return _drawn(self, ax, title)


class VectorFieldDisplay:
    """A vector field of the plane, as arrows.

    Parameters
    ----------
    points, vectors : ndarrays of shape (n_samples, 2)
        Where the arrows start, and what they show.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    quiver_ : matplotlib Quiver
        The arrows.
    """

    def __init__(self, points, vectors):
        self.points = points
        self.vectors = vectors

    @classmethod
    def from_estimator(cls, estimator, X, *, response_method="prior_term", ax=None, **kwargs):
        """Arrows of what an estimator has learned of the prior.

        Parameters
        ----------
        estimator : fitted estimator
            One of the four estimators, of two features.
        X : array-like of shape (n_samples, 2)
            Signals, where the arrows start.
        response_method : {"prior_term", "prior_score"}, default="prior_term"
            The method that gives the vectors.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : VectorFieldDisplay
            The display, drawn.
        """
        return cls.from_predictions(X, getattr(estimator, response_method)(X), ax=ax, **kwargs)

    @classmethod
    def from_predictions(cls, X, vectors, *, ax=None, **kwargs):
        """Arrows of given vectors; ``kwargs`` as in :meth:`plot`."""
        return cls(np.asarray(X), np.asarray(vectors)).plot(ax=ax, **kwargs)

    def plot(self, *, ax=None, title=None, scale=1.0, **kwargs):
        """Draw the arrows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        scale : float, default=1.0
            A vector of length ``scale`` is drawn as long as one unit of the axes.
        **kwargs : dict
            Passed to matplotlib's ``quiver``.

        Returns
        -------
        display : VectorFieldDisplay
            The display, drawn.
        """
        ax = _axes(ax)
        style = {"angles": "xy", "scale_units": "xy", "width": 0.004, "zorder": 3} | kwargs
        self.quiver_ = ax.quiver(*self.points.T, *self.vectors.T, scale=scale, **style)
        ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        return _drawn(self, ax, title)


class ErrorTradeOffDisplay:
    """Error of the reconstruction against error of the forward map: one point for a method.

    Parameters
    ----------
    reconstruction_error : float
        Root mean square distance of reconstructions from signals.
    forward_error : float
        Root mean square distance of what the forward map predicts from the measurements z.
    name : str, default=None
        What the point is called in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    """

    def __init__(self, reconstruction_error, forward_error, *, name=None):
        self.reconstruction_error = reconstruction_error
        self.forward_error = forward_error
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, X, y, *, name=None, ax=None, **kwargs):
        """Both errors of an estimator on test data, noise included.

        Parameters
        ----------
        estimator : fitted estimator
            One of the four estimators.
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements)
            Their measurements.
        name : str, default=None
            Name in the legend; by default that of the class.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : ErrorTradeOffDisplay
            The display, drawn.
        """
        operator = estimator.operator_
        Z = np.asarray(y) if operator is None else operator.adjoint(np.asarray(y))
        return cls.from_predictions(
            *(X, estimator.predict(y), Z, estimator.transform(X)),
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(cls, X, X_reconstructed, Z, Z_predicted, *, name=None, ax=None, **kwargs):
        """Both errors from signals, reconstructions, measurements and predicted measurements.

        Parameters
        ----------
        X, X_reconstructed : array-likes of shape (n_samples, n_features)
            True and reconstructed signals.
        Z, Z_predicted : array-likes of shape (n_samples, n_features)
            Measurements as z (``Aᵀ y``, or y without an operator) and what the forward map makes
            of the signals.
        name, ax, kwargs
            As in :meth:`from_estimator`.

        Returns
        -------
        display : ErrorTradeOffDisplay
            The display, drawn.
        """
        errors = _rms(X_reconstructed, X), _rms(Z_predicted, Z)
        return cls(*errors, name=name).plot(ax=ax, **kwargs)

    def plot(self, *, ax=None, title=None, reference=None, **kwargs):
        """Draw the point.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        reference : tuple of two floats, default=None
            Errors to which the reconstruction's and the forward map's are shown in proportion, such
            as those of an oracle.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        display : ErrorTradeOffDisplay
            The display, drawn.
        """
        ax = _axes(ax)
        style = {"marker": "o", "linestyle": "none", "label": self.name} | kwargs
        unit, of = ((1.0, 1.0), "") if reference is None else (reference, " / reference")
        ax.plot(self.reconstruction_error / unit[0], self.forward_error / unit[1], **style)
        ax.set(
            xlabel=f"reconstruction error, RMSE of φ⁻¹(z) to x{of}",
            ylabel=f"forward error, RMSE of φ(x) to z{of}",
        )
        if style["label"] is not None:
            ax.legend()
        return _drawn(self, ax, title)


class UncertaintyDisplay:
    """Whether the standard deviations of reconstructions are as large as their errors.

    Parameters
    ----------
    error : ndarray of shape (n_samples, n_features)
        Reconstructions minus signals.
    std : ndarray of shape (n_samples, n_features)
        The predicted standard deviations.
    name : str, default=None
        What the curve is called in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    """

    def __init__(self, error, std, *, name=None):
        self.error = error
        self.std = std
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, X, y, *, name=None, ax=None, **kwargs):
        """Reconstruct test measurements with their standard deviations.

        Parameters
        ----------
        estimator : fitted estimator
            One of the four estimators.
        X : array-like of shape (n_samples, n_features)
            Signals.
        y : array-like of shape (n_samples, n_measurements)
            Their measurements.
        name : str, default=None
            Name in the legend; by default that of the class.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : UncertaintyDisplay
            The display, drawn.
        """
        name = type(estimator).__name__ if name is None else name
        found = estimator.predict(y, return_std=True)
        return cls.from_predictions(X, *found, name=name, ax=ax, **kwargs)

    @classmethod
    def from_predictions(cls, X, X_reconstructed, std, *, name=None, ax=None, **kwargs):
        """Signals, reconstructions and standard deviations; ``kwargs`` as in :meth:`plot`."""
        error = np.asarray(X_reconstructed) - np.asarray(X)
        return cls(error, np.asarray(std), name=name).plot(ax=ax, **kwargs)

    def coverage(self, nominal):
        """Share of the errors within the central intervals of these nominal probabilities."""
        within = norm.ppf((1 + np.asarray(nominal)) / 2)
        return (np.abs(self.error)[..., None] <= self.std[..., None] * within).mean(axis=(0, 1))

    def plot(self, *, ax=None, title=None, kind="coverage", n_bins=10, **kwargs):
        """Draw the curve beside the diagonal, where it should be.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        kind : {"coverage", "error"}, default="coverage"
            The share of errors within intervals against their nominal probability, or the root
            mean square error against the standard deviation, in bins of equal numbers.
        n_bins : int, default=10
            Number of bins.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        display : UncertaintyDisplay
            The display, drawn.
        """
        ax = _axes(ax)
        if kind == "coverage":
            x = np.linspace(0, 1, 41)[1:-1]
            curve, labels = self.coverage(x), ("nominal coverage", "share of errors within")
        elif kind == "error":
            order = np.argsort(self.std, axis=None)
            bins = np.array_split(
                np.stack([self.std.ravel(), self.error.ravel()])[:, order], n_bins, 1
            )
            x, curve = np.transpose([np.sqrt((values**2).mean(axis=1)) for values in bins])
            labels = ("standard deviation", "root mean square error")
        else:
            raise ValueError(f'kind must be "coverage" or "error"; got {kind!r}.')
        ax.plot(x, curve, **({"marker": ".", "label": self.name} | kwargs))
        if not any(line.get_label() == "calibrated" for line in ax.lines):
            ax.axline((0, 0), slope=1, color="k", linestyle=":", linewidth=1, label="calibrated")
        ax.set(xlabel=labels[0], ylabel=labels[1])
        ax.legend()
        return _drawn(self, ax, title)


class LossCurveDisplay:
    """The loss by iteration.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        The training loss.
    validation_loss_curve : array-like of shape (n_iter,), default=None
        The loss on pairs that were held out.
    name : str, default=None
        What the curve is called in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    """

    def __init__(self, loss_curve, validation_loss_curve=None, *, name=None):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, **kwargs):
        """The curves of a fitted estimator; ``kwargs`` as in :meth:`plot`."""
        name = type(estimator).__name__ if name is None else name
        curves = estimator.loss_curve_, estimator.validation_loss_curve_
        return cls(*curves, name=name).plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, loss_curve, validation_loss_curve=None, *, name=None, ax=None, **kwargs
    ):
        """Given curves; ``kwargs`` as in :meth:`plot`."""
        return cls(loss_curve, validation_loss_curve, name=name).plot(ax=ax, **kwargs)

    def plot(self, *, ax=None, title=None, **kwargs):
        """Draw the curves. The loss is on a linear axis: a regularised one can be negative.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        title : str, default=None
            Title of the axes.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.
        """
        ax = _axes(ax)
        iterations = 1 + np.arange(len(self.loss_curve))
        label = "training" if self.name is None else self.name
        (line,) = ax.plot(iterations, self.loss_curve, **({"label": label} | kwargs))
        if self.validation_loss_curve is not None:
            ax.plot(
                iterations,
                self.validation_loss_curve,
                linestyle="--",
                color=line.get_color(),
                label=f"{line.get_label()}, validation",
            )
        ax.set(xscale="log", xlabel="iteration", ylabel="mean loss")
        ax.legend()
        return _drawn(self, ax, title)


class EpsilonPathDisplay(ValidationCurveDisplay):
    """Score against epsilon, by cross-validation.

    A :class:`sklearn.model_selection.ValidationCurveDisplay` of the parameter ``epsilon``.
    """

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, epsilon, param_name="epsilon", noise_level=None, ax=None, **kwargs
    ):
        """Fit and score the estimator for every epsilon.

        Parameters
        ----------
        estimator : estimator
            A regularised estimator, or a pipeline, search or Reconstructor with one.
        X : array-like of shape (n_samples, n_features)
            Signals; of a Reconstructor the measurements.
        y : array-like of shape (n_samples, n_measurements)
            Measurements; of a Reconstructor the signals.
        epsilon : array-like of shape (n_epsilons,)
            The values to try, in the units of y².
        param_name : str, default="epsilon"
            What the parameter is called, ``"estimator__epsilon"`` in a Reconstructor.
        noise_level : float, default=None
            When given, its square, the Bayesian choice, is marked.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            Passed to scikit-learn's display: ``cv``, ``scoring``, ``n_jobs``, …

        Returns
        -------
        display : EpsilonPathDisplay
            The display, drawn.
        """
        display = super().from_estimator(
            *(estimator, X, y),
            param_name=param_name,
            param_range=epsilon,
            ax=_axes(ax),
            **({"score_type": "both", "negate_score": False} | kwargs),
        )
        return display._mark(noise_level)

    @classmethod
    def from_predictions(
        cls, epsilon, train_scores, test_scores, *, noise_level=None, ax=None, **kwargs
    ):
        """Draw scores that are at hand, such as those of a search.

        Parameters
        ----------
        epsilon : array-like of shape (n_epsilons,)
            The values that were tried.
        train_scores, test_scores : array-likes of shape (n_epsilons, n_folds)
            Scores of every fold.
        noise_level, ax
            As in :meth:`from_estimator`.
        **kwargs : dict
            As for ``plot`` of scikit-learn's display.

        Returns
        -------
        display : EpsilonPathDisplay
            The display, drawn.
        """
        display = cls(
            param_name="epsilon",
            param_range=np.asarray(epsilon),
            train_scores=np.asarray(train_scores),
            test_scores=np.asarray(test_scores),
        )
        return display.plot(ax=_axes(ax), **kwargs)._mark(noise_level)

    def _mark(self, noise_level):
        self.ax_.set(xscale="log", xlabel="epsilon")
        if noise_level is not None:
            self.ax_.axvline(noise_level**2, color="grey", linestyle=":", label="δ²")
            self.ax_.legend()
        return self


class ImagesDisplay:
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
        y : array-like of shape (n_samples, n_measurements)
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
        X, y = np.asarray(X)[:n_images], np.asarray(y)[:n_images]
        rows = {"truth": X}
        if y.shape == X.shape:
            rows["measurement"] = y
        rows[type(estimator).__name__] = estimator.predict(y)
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
        height, width = self.image_shape
        n_images = min(len(images) for images in self.rows.values())
        size = (0.9 * n_images + 4.5, 0.9 * len(self.rows) * height / width + 0.6)
        ax = _axes(ax, figsize=size, layout="compressed")
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
        return _drawn(self, ax, title)


def _axes(ax, **figure):
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(**figure)[1]


def _drawn(display, ax, title):
    if title is not None:
        ax.set_title(title)
    display.ax_, display.figure_ = ax, ax.figure
    return display


def _rms(first, second):
    """Root mean square distance of rows."""
    difference = np.asarray(first) - np.asarray(second)
    return float(np.sqrt((difference**2).sum(axis=1).mean()))
