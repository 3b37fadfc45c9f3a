"""What the tests share: the four estimators and the error by which they are judged."""

import pytest

from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.numerics.errors import row_rmse as rmse

__all__ = ["ALL", "every", "rmse"]

ALL = [ApproximationINN, ReconstructionINN, LogDetRegularizedINN, DivergenceRegularizedINN]
every = pytest.mark.parametrize("cls", ALL)
