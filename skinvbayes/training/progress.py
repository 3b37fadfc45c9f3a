"""The progress bar of training."""

from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(description, total, enabled):
    """A callable to hand to training, which draws iterations, loss and time left.

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
