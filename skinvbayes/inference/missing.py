"""Rows of which some measurements are missing: each of them has a forward map of its own."""

from dataclasses import dataclass

from ..noise.missing import ObservedPrecision
from ..numerics import chunks
from ..operators import GramOperator
from ..problem.inverse_problem import InverseProblem
from .adapted import AdaptedMap
from .row_operator import RowGram, RowOperator

__all__ = ["MissingMap"]


@dataclass
class MissingMap(AdaptedMap):
    """φ for rows of measurements with NaN where one is missing; which ones, every row says.

    Attributes
    ----------
    problem : InverseProblem
        With the operator and the noise of all measurements.
    """

    problem: InverseProblem

    def targets(self, Y):
        """z of every row; readings that are missing are taken to be those of the mean signal."""
        expected = self.problem.measurement.predicted(self.coordinates.signal_mean[None])
        weighted = self._precision(Y).product(Y - expected)
        return self.coordinates.target_mean + self._operator.adjoint(weighted)

    def information(self, Y):
        """AᵀQA of every row."""
        return RowGram(self._operator, self._precision(Y))

    def for_rows(self, rows):
        """The map of some rows of measurements."""
        other = RowOperator(self.information(rows), self.coordinates, self._by_matrices)
        known = self.coordinates, self.variance, self.clusters
        return AdaptedMap(self.network.with_other(other), *known)

    @property
    def _operator(self):
        return self.problem.measurement.operator

    def _precision(self, Y):
        return ObservedPrecision(self.problem.measurement.noise, Y)

    @property
    def _inversion_rows(self):
        return self._jacobian_rows if self._by_matrices else chunks.MOST_ROWS

    @property
    def _by_matrices(self):
        return not isinstance(self.problem.forward, GramOperator)
