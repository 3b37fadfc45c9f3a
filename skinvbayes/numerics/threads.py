"""One torch thread inside, the caller's number again outside."""

import threading
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_entered = 0
_outside = None
_controller = None


@contextmanager
def single_thread():
    """Run torch and the linear algebra of numpy and scipy with one thread on the CPU.

    Sums then add up in the same order whatever the number of cores or of workers beside, so the
    same seed gives the same model; several workers do not oversubscribe the cores; and batched LU
    cannot hang (pytorch#141358). Threads may nest and overlap: the last one out restores.
    """
    global _entered, _outside, _controller
    with _lock:
        if _entered == 0:
            _controller = _controller or ThreadpoolController()
            limiter = _controller.limit(limits=1, user_api="blas")
            _outside = torch.get_num_threads(), limiter
        _entered += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _entered -= 1
            if _entered == 0:
                n_threads, limiter = _outside
                limiter.restore_original_limits()
                torch.set_num_threads(n_threads)
