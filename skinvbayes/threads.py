"""One torch thread inside, the caller's number again outside."""

import threading
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_entered = 0
_outside = 1


@contextmanager
def single_thread():
    """Run torch with one thread on the CPU.

    Sums then add up in the same order whatever the number of cores or of workers beside, so the
    same seed gives the same model; several workers do not oversubscribe the cores; and batched LU
    cannot hang (pytorch#141358). Threads may nest and overlap: the last one out restores.
    """
    global _entered, _outside
    with _lock:
        if _entered == 0:
            _outside = torch.get_num_threads()
        _entered += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _entered -= 1
            if _entered == 0:
                torch.set_num_threads(_outside)
