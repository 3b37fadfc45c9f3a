"""Runs the example of each extra that is installed; what needs a missing extra must name it.

``python .ci/extras.py plot dask`` is for an environment that has these two extras.
"""

import io
import os
import runpy
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_photos, make_bimodal

ROOT = Path(__file__).resolve().parents[1]
MODULES = {  # of each extra
    "plot": "matplotlib",
    "progress": "rich",
    "skops": "skops",
    "images": "skimage",
    "pylops": "pylops",
    "dask": "distributed",
}
HAS_CALLBACKS = find_spec("sklearn.callback") is not None  # scikit-learn 1.9 or later


def pairs():
    problem = make_bimodal(200, random_state=0)
    return problem.X, problem.Y


def short(**parameters):
    return DivergenceRegularizedINN(max_iter=5, random_state=0, **parameters)


# ------------------------------------------------------------------------------------- examples


def plot():
    os.environ |= {"MPLBACKEND": "Agg", "SKINVBAYES_EXAMPLE_SAMPLES": "200"}
    runpy.run_path(str(ROOT / "examples" / "plot_five_lines.py"))


def progress():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    with redirect_stdout(Terminal()) as screen:
        short(verbose=True).fit(*pairs())
    assert "━" in screen.getvalue()  # the bar of rich


def skops():
    from skops.io import dumps, get_untrusted_types, loads

    X, Y = pairs()
    model = short().fit(X, Y)
    data = dumps(model)
    loaded = loads(data, trusted=get_untrusted_types(data=data))
    np.testing.assert_array_equal(loaded.predict(Y), model.predict(Y))
    if HAS_CALLBACKS:
        from skinvbayes.callbacks import Checkpoint

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.skops"
            short().set_callbacks(Checkpoint(file, every=0)).fit(X, Y)
            assert file.exists()


def images():
    photos = load_photos(n_patches=50, patch_size=8, test_size=32)
    layers = {"residual": "conv", "image_shape": photos.image_shape, "max_iter": 5}
    model = ReconstructionINN(operator=photos.operator, random_state=0, **layers)
    model.fit(photos.X_train, photos.Y_train)
    assert model.predict(photos.Y_train).shape == photos.X_train.shape


def pylops():
    from pylops import Smoothing1D

    X = np.random.RandomState(0).standard_normal((100, 8))
    blur = Smoothing1D(3, 8)
    model = short(operator=blur, noise_level=0.1).fit(X)
    assert model.predict((blur @ X.T).T).shape == X.shape


def dask():
    import dask.array as da
    from dask.distributed import Client

    X, Y = (da.from_array(rows, chunks=(50, -1)) for rows in pairs())
    with Client(processes=False, n_workers=1, dashboard_address=None):
        assert short().fit(X, Y).predict(Y).compute().shape == X.shape


# ------------------------------------------------------------------------------- missing extras


def a_display():
    from skinvbayes.plotting import LossCurveDisplay

    LossCurveDisplay.from_estimator(short().fit(*pairs()))


def a_checkpoint():
    from skinvbayes.callbacks import Checkpoint

    Checkpoint("model.skops")


def the_command():
    """Also in an environment with one of its two extras."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "skinvbayes", "--output", folder]
        run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2, run
    raise ImportError(run.stderr)


NEEDS = {  # pylops and dask are needed only for objects that are theirs
    "plot": [a_display, the_command],
    "progress": [the_command],
    "skops": [a_checkpoint] if HAS_CALLBACKS else [],
    "images": [load_photos],
}


def message_of(needs):
    try:
        needs()
    except ImportError as error:
        return str(error).strip()
    raise AssertionError(f"{needs.__name__} did without its extra.")


def main(installed):
    for extra, module in MODULES.items():
        if extra in installed:
            globals()[extra]()
            print(f"{extra}: its example ran")
            continue
        assert find_spec(module) is None, f"{module} is here: this environment tells nothing"
        for needs in NEEDS.get(extra, []):
            message = message_of(needs)
            named = message.partition("skinvbayes[")[2].partition("]")[0].split(",")
            assert extra in named, message
            print(f"{extra}: missing. {needs.__name__}: {message}")


if __name__ == "__main__":
    main(sys.argv[1:])
