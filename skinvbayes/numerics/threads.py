"""A context in which torch and the linear algebra of numpy and scipy use one thread each."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

from .shared import SharedContext

__all__ = ["in_threads", "single_thread"]


class _BlasLimit(SharedContext):
    """One thread for numpy's and scipy's linear algebra while anybody is inside."""

    def __init__(self):
        super().__init__()
        self._controller = self._limiter = None

    def set(self):
        if self._controller is None:
            # a limiter restores the threads of every library of its controller
            self._controller = ThreadpoolController().select(user_api="blas")
        self._free_control()
        self._limiter = self._controller.limit(limits=1)

    def restore(self):
        self._free_control()
        self._limiter.restore_original_limits()
        self._free_control()

    def _free_control(self):
        """Let this thread set limits: since 3.8, threadpoolctl obeys one thread at a time."""
        for library in self._controller.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


_blas_limit = _BlasLimit()
_here = threading.local()  # the workers of this thread, once it is inside


@contextmanager
def single_thread():
    """Run torch and the linear algebra of numpy and scipy with one thread on the CPU.

    Sums then add up in the same order whatever the number of cores or of workers beside, so the
    same seed gives the same model; several workers do not oversubscribe the cores; and batched LU
    cannot hang (pytorch#141358). Contexts may nest, and overlap in threads: torch keeps a number
    of threads for each thread, and every thread finds its own again. What can be divided into
    pieces still uses them all; see :func:`in_threads`.
    """
    if _workers() is not None:
        yield
        return
    n_threads = torch.get_num_threads()
    # threads start with the first piece of work
    with _blas_limit, ThreadPoolExecutor(n_threads, initializer=_begin) as workers:
        torch.set_num_threads(1)
        _here.workers = workers, n_threads
        try:
            yield
        finally:
            _here.workers = None
            torch.set_num_threads(n_threads)


def in_threads(function, pieces):
    """``[function(piece) for piece in pieces]``; in all threads that torch had before.

    Where derivatives are recorded, and outside of :func:`single_thread`, this thread does it all.

    Parameters
    ----------
    function : callable
        What to do with a piece, by operations of torch, which run beside each other.
    pieces : list
        The pieces, which should not depend on the number of threads.
    """
    workers, n_threads = _workers() or (None, 1)
    if n_threads == 1 or len(pieces) == 1 or torch.is_grad_enabled():
        return [function(piece) for piece in pieces]
    return list(workers.map(function, pieces))


def _workers():
    """The workers of this thread and their number; None outside of :func:`single_thread`."""
    return getattr(_here, "workers", None)


def _begin():
    """What a worker does first."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
