"""Devices that estimators cannot compute on are refused in a sentence."""

import pickle

import numpy as np
import pytest
import torch

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.numerics import devices

OPTIONS = {"max_iter": 2, "random_state": 0}


@pytest.fixture
def without_float64(monkeypatch):
    """Torch refuses double precision on every device but the CPU, as it does on "mps"."""

    def compute(dtype, device):
        if dtype == torch.float64 and torch.device(device).type != "cpu":
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(devices, "_compute", compute)


@pytest.mark.parametrize("start", ["fit", "partial_fit"])
@pytest.mark.parametrize("device", ["mps", torch.device("mps")])
def test_devices_without_float64(device, start, pairs, without_float64):
    estimator = DivergenceRegularizedINN(device=device, **OPTIONS)
    with pytest.raises(ValueError, match="device='mps' has no double precision.*device=\"cpu\""):
        getattr(estimator, start)(*pairs)


@pytest.mark.parametrize("device", ["meta", "cuda:99", "grahpics card", torch.device("meta")])
def test_devices_that_are_not_here(device, pairs):
    estimator = DivergenceRegularizedINN(device=device, **OPTIONS)
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used.*device=\"cpu\""):
        estimator.fit(*pairs)


@pytest.mark.filterwarnings("ignore:.*still falling")
def test_a_stored_model_goes_on_without_its_device(pairs, without_float64):
    """It is trained on, on the CPU, where it was loaded."""
    estimator = DivergenceRegularizedINN(**OPTIONS).fit(*pairs)
    stored = pickle.dumps(estimator.set_params(device="mps", warm_start=True))
    loaded, estimator = pickle.loads(stored), estimator.set_params(device="cpu")
    for one in (loaded, estimator):
        one.partial_fit(*pairs).fit(*pairs)
    np.testing.assert_array_equal(loaded.predict(pairs[1]), estimator.predict(pairs[1]))
