"""Contexts that hold for the whole process, shared by all threads that are inside."""

import threading

__all__ = ["SharedContext"]


class SharedContext:
    """A context that is set by the first thread in, and restored by the last one out.

    A subclass defines ``set()`` and ``restore()``, which one thread at a time calls.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self):
        with self._lock:
            if self._n_inside == 0:
                self.set()
            self._n_inside += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self.restore()

    def set(self):
        """Change the settings of the process."""
        raise NotImplementedError(f"{type(self).__name__} must define set().")

    def restore(self):
        """Give the process its settings back."""
        raise NotImplementedError(f"{type(self).__name__} must define restore().")
