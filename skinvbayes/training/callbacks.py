"""scikit-learn's experimental callbacks, where the installed version has them."""

from contextlib import nullcontext

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:
        """No callbacks."""

    def with_callbacks(method):
        """The method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "FitTask", "with_callbacks"]


class FitTask:
    """The fit of an estimator as a task of scikit-learn's callbacks; silent without them.

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

    def iterate(self):
        """Report one iteration; True when a callback asks to stop."""
        if self.context is None or not getattr(self.estimator, "_skl_callbacks", None):
            return False
        iteration = self.context.subcontext(task_name="iteration")
        iteration.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return iteration.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes={}, **self.data
        )

    def end(self):
        """Report that the fit has ended."""
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
