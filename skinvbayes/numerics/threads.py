"""A context in which torch and the linear algebra of numpy and scipy use one thread each."""

import threading
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

from .shared import SharedContext

__all__ = ["single_thread"]


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
_here = threading.local()  # whether this thread is inside already


@contextmanager
def single_thread():
    """Run torch and the linear algebra of numpy and scipy with one thread on the CPU.

    Sums then add up in the same order whatever the number of cores or of workers beside, so the
    same seed gives the same model; several workers do not oversubscribe the cores; and batched LU
    cannot hang (pytorch#141358). Contexts may nest, and overlap in threads: torch keeps a number
    of threads for each thread, and every thread finds its own again.
    """
    if getattr(_here, "inside", False):
        yield
        return
    n_threads = torch.get_num_threads()
    with _blas_limit:
        torch.set_num_threads(1)
        _here.inside = True
        try:
            yield
        finally:
            _here.inside = False
            torch.set_num_threads(n_threads)
