"""What is told while an estimator trains: scikit-learn's callbacks, and the progress bar."""

from contextlib import contextmanager, nullcontext
from inspect import signature

from ..numerics.displays import displayed
from ..numerics.sklearn_compat import callbacks_of, new_callback_context

__all__ = ["FitTask", "progress_bar"]


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
        self.estimator, self.data = estimator, data
        self.context = new_callback_context(estimator, max_iter)
        if self.context is not None:
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
        callbacks = callbacks_of(self.estimator)
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
def progress_bar(title, max_iter, verbose, in_user_units):
    """Yields a function of the History that shows iterations, loss and time left.

    Parameters
    ----------
    title : str
        What is being trained.
    max_iter : int
        Largest number of iterations.
    verbose : bool or int
        When false nothing is shown.
    in_user_units : callable
        From a loss to that in the user's units.
    """
    if not verbose:
        yield lambda history: None
        return
    with displayed(title) as display:

        def update(history):
            n_iter = len(history.loss_curve)
            display.show(n_iter / max_iter, lambda: f"{n_iter}/{max_iter}, {losses(history)}")

        def losses(history):
            curves = {"loss": history.loss_curve, "validation": history.validation_loss_curve}
            last = {name: in_user_units(curve[-1]) for name, curve in curves.items() if curve}
            return ", ".join(f"{name} {float(value):.4g}" for name, value in last.items())

        yield update
