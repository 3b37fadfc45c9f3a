"""What the tests share: the four estimators and the error by which they are judged."""

import numpy as np
import pytest

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)

ALL = [ApproximationINN, ReconstructionINN, LogDetRegularizedINN, DivergenceRegularizedINN]
every = pytest.mark.parametrize("cls", ALL)


def rmse(a, b):
    """Root of the mean squared distance of the rows."""
    return np.sqrt(((a - b) ** 2).sum(axis=1).mean())
