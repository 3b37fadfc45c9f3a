"""Types that signatures name."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Auto", "Method", "RandomState"]

Array: TypeAlias = NDArray[Any]
Auto: TypeAlias = Literal["auto"]
Method = TypeVar("Method", bound=Callable[..., Any])  # what a decorator takes and returns
RandomState: TypeAlias = int | np.random.RandomState | None
