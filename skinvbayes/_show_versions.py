"""What a report of a problem should say about the installation."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from ._version import __version__

__all__ = ["show_versions"]

_REQUIRED = "numpy", "scipy", "scikit-learn", "torch", "joblib", "threadpoolctl"
_OPTIONAL = (
    *("matplotlib", "rich", "skops", "scikit-image", "pylops", "dask", "distributed"),
    *("pandas", "polars"),
)


def show_versions() -> None:
    """Print the versions of Python, this package and its dependencies, and what computes.

    Please paste what it prints into reports of problems.

    Examples
    --------
    >>> from skinvbayes import show_versions
    >>> show_versions()  # doctest: +ELLIPSIS
    <BLANKLINE>
    System:
    ...
    """
    sections = {
        "System": _system(),
        "Dependencies": {name: _version(name) for name in _REQUIRED},
        "Optional dependencies": {name: _version(name) for name in _OPTIONAL},
        "Torch": _torch(),
    }
    sections |= {f"Threads of library {n}": info for n, info in enumerate(_threadpools(), 1)}
    for title, lines in sections.items():
        print(f"\n{title}:")
        for name, value in lines.items():
            print(f"{name:>16}: {value}")


def _system():
    return {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
        "skinvbayes": __version__,
    }


def _version(name):
    """The installed version, without importing the package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _torch():
    """The threads of torch, and the devices that it can compute on."""
    import torch

    n_devices = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(n) for n in range(n_devices)]
    return {
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "CUDA": torch.version.cuda or "built without",
        "devices": ", ".join(["cpu", *names]),
    }


def _threadpools():
    """The native libraries with threads of their own; there are more once torch is imported."""
    from threadpoolctl import threadpool_info

    return threadpool_info()
