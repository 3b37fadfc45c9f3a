"""What a process holds does not grow with its fits and predictions."""

import gc
import tracemalloc
import warnings

import torch

from helpers import ALL
from skinvbayes.training.trained import copied


def held():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def rounds(numbers, X, Y):
    for k in numbers:
        options = {"max_iter": 1, "hidden_layer_sizes": 2, "n_pieces": 2, "random_state": k}
        estimator = ALL[k % len(ALL)](**options).fit(X, Y)
        for _ in range(3):
            estimator.predict(Y, return_std=True)


def test_memory_does_not_grow(pairs):
    """A model that stays behind in every round would hold more."""
    X, Y = (rows[:40] for rows in pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracemalloc.start()
        rounds(range(4), X, Y)  # caches fill
        before = held()
        rounds(range(4, 20), X, Y)
        grown = held() - before
        tracemalloc.stop()
    assert grown < 100_000  # networks that stay would hold 220,000


def test_copies_of_generators():
    """Of each deepcopy of a generator, torch keeps a few kilobytes for good."""
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(
        torch.randn(3, generator=copied(generator)), torch.randn(3, generator=generator)
    )
    tracemalloc.start()
    before = held()
    for _ in range(200):
        copied(generator)
    grown = held() - before
    tracemalloc.stop()
    assert grown < 1000
