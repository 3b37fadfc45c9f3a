"""What the theory promises of a trained network, as numbers.

Each of the four losses has an optimum φ(x) = G x − t(x), with a term t that depends on the
prior. The functions here compare the t that was learned with the one of the theory, for a prior
known in closed form or through samples, and check the two identities on which the theory rests.

References
----------
N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
Estimators", arXiv:2510.26704.
"""

from .identities import sufficiency_gap, tweedie_gap
from .optimum import optimal_prior_term, pushforward_score, score_error, stationarity
from .recovery import recovered_forward, recovered_operator

__all__ = [
    "optimal_prior_term",
    "pushforward_score",
    "recovered_forward",
    "recovered_operator",
    "score_error",
    "stationarity",
    "sufficiency_gap",
    "tweedie_gap",
]
