"""What is told while an estimator trains: scikit-learn's callbacks, and the progress bar."""

from contextlib import contextmanager, nullcontext
from inspect import signature

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:
        """No callbacks."""

    def with_callbacks(method):
        """The method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "FitTask", "progress_bar", "with_callbacks"]


class FitTask:
    """The fit of an estimator as a task of scikit-learn's callbacks; does nothing without them.

    Parameters
    ----------
    estimator : estimator instance
        The estimator that fits.
    max_iter : int
        Largest number of iterations.
    **data
        ``X``, ``y`` and ``metadata``, for the callbacks.
    """

    def __init__(self, estimator, max_iter, **data):
        self.estimator, self.data, self.context = estimator, data, None
        if hasattr(estimator, "_init_callback_context"):
            self.context = estimator._init_callback_context(max_subtasks=max_iter)
            self.context.call_on_fit_task_begin(estimator=estimator, **data)

    def iterate(self, attributes):
        """Report one iteration.

        Parameters
        ----------
        attributes : callable
            Gives the fitted attributes as if training stopped now, a dict; called if a callback
            needs them.

        Returns
        -------
        stop : bool
            Whether a callback asks to stop the training.
        """
        callbacks = getattr(self.estimator, "_skl_callbacks", None)
        if self.context is None or not callbacks:
            return False
        iteration = self.context.subcontext(task_name="iteration")
        iteration.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        needed = any(_needs_estimator(callback, iteration) for callback in callbacks)
        return iteration.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=attributes if needed else None,
            **self.data,
        )

    def end(self):
        """Report that the fit has ended; the estimator has its fitted attributes."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes={}, **self.data
            )

    def propagate(self, sub_estimator):
        """Context in which a sub-estimator's fit reports to the same callbacks."""
        if self.context is None:
            return nullcontext()
        subtask = self.context.subcontext(task_name="estimator")
        return subtask.propagate_callback_context(sub_estimator)


def _needs_estimator(callback, task):
    """Whether a callback takes the fitted estimator, and its ``is_due``, if any, wants it now."""
    takes = "fitted_estimator" in signature(callback.on_fit_task_end).parameters
    return takes and (not hasattr(callback, "is_due") or callback.is_due(task))


@contextmanager
def progress_bar(description, total, enabled):
    """Yields a function of the History that draws iterations, loss and time left.

    Parameters
    ----------
    description : str
        What is being trained.
    total : int
        Largest number of iterations.
    enabled : bool
        When False nothing is drawn.

    Raises
    ------
    ImportError
        If rich is not installed.
    """
    if not enabled:
        yield lambda history: None
        return
    try:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError as error:
        raise ImportError(
            'verbose=True draws its progress bar with rich: pip install "skinvbayes[progress]".'
        ) from error
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[losses]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(description, total=total, losses="")

        def update(history):
            losses = f"loss {history.loss_curve[-1]:.4g}"
            if history.validation_loss_curve:
                losses += f", validation {history.validation_loss_curve[-1]:.4g}"
            progress.update(task, completed=len(history.loss_curve), losses=losses)

        yield update
