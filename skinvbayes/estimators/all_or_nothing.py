"""Methods that leave an estimator as it was where they fail."""

import functools
from typing import cast

from ..numerics.types import Method

__all__ = ["all_or_nothing"]


def all_or_nothing(method: Method) -> Method:
    """Decorate ``fit`` or ``partial_fit``: if it raises, all attributes are what they were.

    What the method trains has to be new objects, or copies of those that the attributes hold.

    Parameters
    ----------
    method : callable
        The method of an estimator.

    Returns
    -------
    method : callable
        With the same signature and docstring.

    Examples
    --------
    >>> from skinvbayes.estimators.all_or_nothing import all_or_nothing
    >>> class Estimator:
    ...     fitted_ = 1
    ...     @all_or_nothing
    ...     def fit(self):
    ...         self.fitted_ = 2
    ...         raise KeyboardInterrupt
    >>> estimator = Estimator()
    >>> try:
    ...     estimator.fit()
    ... except KeyboardInterrupt:
    ...     print(estimator.fitted_)
    1
    """

    @functools.wraps(method)
    def safely(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return cast(Method, safely)
