"""Callbacks for ``set_callbacks``, beside those of scikit-learn."""

import os
import pickle
from contextlib import contextmanager
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import sklearn

from .numerics.sklearn_compat import CALLBACK_ATTRIBUTES
from .numerics.warn import warn_caller

__all__ = ["Checkpoint"]


class Checkpoint:
    """Save the estimator every few minutes while it trains, and when training ends.

    What a file holds is the fitted estimator that one gets by stopping after that iteration: with
    ``early_stopping`` it has the best weights so far, otherwise the last ones. Load it as any saved
    estimator; with ``warm_start=True`` its ``fit`` goes on from there. A file is complete at all
    times: the new one is written beside it and then takes its place.

    Parameters
    ----------
    path : str or path-like
        The file. With the suffix ``.skops`` it is written by skops, otherwise by pickle (joblib
        reads it too). The folder must exist.
    every : float, default=300.0
        Seconds between two saves. The first iteration that ends later than this after the last
        save, or after the beginning, is saved; 0 saves all of them.

    Raises
    ------
    ImportError
        If scikit-learn is older than 1.9, or the file is for skops and that is not installed.
    OSError, TypeError
        From ``fit``, before training: if the file cannot be written, or the parameters of the
        estimator cannot be stored.

    Warns
    -----
    UserWarning
        If a save fails during training, for example because the disk is full. Training goes on,
        and the last file stays.

    Notes
    -----
    Set it on the outermost estimator. scikit-learn hands it on to the estimators inside, and the
    one that trains is what is saved: from ``Reconstructor`` or a pipeline the estimator within it.
    Fits that follow one another share the file. Fits that may run side by side, as in a search,
    each have their own. In a search with ``path="model.skops"`` candidate i on split j of s writes
    ``model-k.skops`` with k = i s + j, counted from 0, and the last fit, with the best parameters
    on all data, writes ``model.skops``. ``cross_validate`` and other functions do not tell their
    fits apart: these share the file, and the last save stays.

    The short trial that precedes some trainings is not saved, nor are the callbacks: set them
    again on a loaded estimator. A process that is killed while it writes leaves a temporary file
    ``.<name>.<digits>.tmp`` behind.

    Examples
    --------
    >>> import pickle, tempfile
    >>> from pathlib import Path
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.callbacks import Checkpoint
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(200, noise_level=0.3, random_state=0)
    >>> path = Path(tempfile.mkdtemp()) / "model.pkl"
    >>> estimator = DivergenceRegularizedINN(max_iter=20, random_state=0)
    >>> _ = estimator.set_callbacks(Checkpoint(path, every=60)).fit(problem.X, problem.Y)
    >>> saved = pickle.loads(path.read_bytes())  # after a crash, for example
    >>> saved.predict(problem.Y).shape
    (200, 2)
    >>> _ = saved.set_params(warm_start=True).fit(problem.X, problem.Y)
    """

    max_propagation_depth = None  # sub-estimators of all depths have it too

    def __init__(self, path: str | os.PathLike[str], every: float = 300.0):
        if find_spec("sklearn.callback") is None:
            raise ImportError(
                "Checkpoint is a callback for scikit-learn 1.9 or later; this is "
                f"{sklearn.__version__}: pip install -U scikit-learn."
            )
        if not (isinstance(every, Real) and every >= 0):
            raise ValueError(f"every must be a number of seconds, 0 or more; got {every!r}.")
        self.path: Path = Path(path).resolve()
        self.every: float = every
        self._last_saved: dict[Path, float] = {}  # times, by the files
        _format_of(self.path)

    def __getstate__(self):
        # another thread may begin a fit while this one is being pickled
        return vars(self) | {"_last_saved": {}}

    def setup(self, estimator: Any, context: Any) -> None:
        """Refuse a file that cannot be written.

        Parameters
        ----------
        estimator : estimator instance
            The outermost estimator that fits.
        context : sklearn.callback.CallbackContext
            The task of its fit.
        """
        _check_writable(self.path)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing is left to do after a fit.

        Parameters
        ----------
        estimator : estimator instance
            The outermost estimator that fits.
        context : sklearn.callback.CallbackContext
            The task of its fit.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Start the clock of a fit, or refuse an estimator that cannot be stored.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that fits.
        context : sklearn.callback.CallbackContext
            A task of its fit.
        """
        if not (_is_fit(context) and _can_continue(estimator)):
            return
        file = self._file_of(context)
        _check_writable(file)
        _check_storable(estimator, file)
        self._last_saved[file] = monotonic()

    def is_due(self, context: Any) -> bool:
        """Whether it is time to save; the estimators ask before they copy their weights.

        Parameters
        ----------
        context : sklearn.callback.CallbackContext
            A task that ends.

        Returns
        -------
        due : bool
        """
        if _is_fit(context):
            return True
        last = self._last_saved.get(self._file_of(context))
        return last is not None and monotonic() - last >= self.every

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Save the estimator if it is time to.

        Parameters
        ----------
        estimator : estimator instance
            The estimator that fits.
        context : sklearn.callback.CallbackContext
            The task that ends.
        fitted_estimator : estimator instance, default=None
            The estimator as if its fit had stopped with this task.
        """
        if fitted_estimator is None or not _can_continue(estimator) or not self.is_due(context):
            return
        file = self._file_of(context)
        try:
            with _temporary_file(file) as temporary:
                _write(_without_callbacks(fitted_estimator), temporary, _format_of(file)[0])
                os.replace(temporary, file)
        except OSError as error:
            warn_caller(
                f"The checkpoint could not be written: {error}. The last one stays, and training "
                "goes on. Make room on the disk, or let this process write there."
            )
        self._last_saved[file] = monotonic()

    def _file_of(self, context):
        """The file of the fit that a task belongs to: the place of fits that run side by side."""
        places = []
        while context.parent is not None:
            if not context.parent.sequential_subtasks:
                places.insert(0, str(context.task_id))
            context = context.parent
        return self.path.with_stem("-".join([self.path.stem, *places]))


def _is_fit(context):
    """Whether a task is the whole fit of an estimator, and not a part of it."""
    return context.parent is None or context.source_task_name is not None


def _can_continue(estimator):
    """Whether a later fit may go on from a saved estimator."""
    return "warm_start" in estimator.get_params(deep=False)


def _without_callbacks(estimator):
    """The same estimator without what belongs to the fit that is under way."""
    other = type(estimator).__new__(type(estimator))
    kept = vars(estimator).keys() - CALLBACK_ATTRIBUTES
    vars(other).update({name: vars(estimator)[name] for name in kept})
    return other


def _format_of(file):
    """The functions that write an estimator to a stream and read it, by the suffix of the file."""
    if file.suffix != ".skops":
        return pickle.dump, pickle.load
    try:
        from skops.io import dump, get_untrusted_types, loads
    except ImportError as error:
        raise ImportError(
            'A checkpoint *.skops is written by skops: pip install "skinvbayes[skops]", or give '
            "another suffix for pickle."
        ) from error

    def load(stream):
        data = stream.read()
        return loads(data, trusted=get_untrusted_types(data=data))

    return dump, load


def _check_writable(file):
    """Raise an OSError if the file, or one beside it, cannot be written."""
    try:
        if file.exists():
            file.open("r+b").close()
        with _temporary_file(file) as temporary:
            temporary.touch()
    except OSError as error:
        reason = (
            f"Checkpoint cannot write its file ({error.strerror}). Give the path of a file, in a "
            "folder that exists and that this process may write to"
        )
        raise OSError(error.errno, reason, str(file)) from error


def _check_storable(estimator, file):
    """Raise a TypeError if the parameters of an estimator cannot be written and read again."""
    unfitted = type(estimator)(**estimator.get_params(deep=False))
    dump, load = _format_of(file)
    with _temporary_file(file) as temporary:
        try:
            _write(unfitted, temporary, dump)
            with open(temporary, "rb") as stream:
                load(stream)
        except OSError:
            raise
        except Exception as error:
            raise TypeError(
                f"Checkpoint cannot store this {type(estimator).__name__} in {file.name}: {error}. "
                "skops (for *.skops) or pickle has to write and read its parameters: functions and "
                "classes must be those of a module, not defined on the spot."
            ) from error


@contextmanager
def _temporary_file(file):
    """A path in the folder of a file; what is there in the end is removed."""
    temporary = file.with_name(f".{file.name}.{uuid4().hex}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write(estimator, path, dump):
    """Write an estimator to a new file, down to the disk."""
    with open(path, "xb") as stream:
        dump(estimator, stream)
        stream.flush()
        os.fsync(stream.fileno())
