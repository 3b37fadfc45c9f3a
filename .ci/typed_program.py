"""What a user writes, with types: ``nox -s types`` has it checked by mypy --strict."""

from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.estimators import BaseINN
from skinvbayes.inversion import InvertibleMap
from skinvbayes.losses import Loss
from skinvbayes.networks import ResidualBlock
from skinvbayes.oracles import map_estimate, posterior_mean
from skinvbayes.priors import GaussianMixturePrior
from skinvbayes.problem.coordinates import Coordinates

Array = NDArray[Any]


class AbsoluteLoss(Loss):
    def __call__(self, network: InvertibleMap, x: Tensor, z: Tensor) -> Tensor:
        difference: Tensor = network(x) - z
        return difference.abs().sum(1)

    def in_user_units(self, value: float, coordinates: Coordinates) -> float:
        return value * coordinates.scale


class LinearBlock(ResidualBlock):
    def __init__(
        self, n_features: int, sizes: tuple[int, ...], bound: float, generator: torch.Generator
    ) -> None:
        super().__init__(n_features, sizes, bound, generator)
        self.weight = torch.nn.Parameter(torch.randn(n_features, n_features, generator=generator))

    def residual(self, x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.matrix_norm(self.weight, 2).clamp(min=1)
        return self.max_lipschitz * x @ self.weight.T / norm

    def lipschitz(self) -> Tensor:
        norm: Tensor = torch.linalg.matrix_norm(self.weight, 2)
        return self.max_lipschitz * norm.clamp(max=1)


class AbsoluteINN(BaseINN):
    loss = AbsoluteLoss


def reconstructed(X: Array, Y: Array) -> Array:
    model = DivergenceRegularizedINN(epsilon=0.1, operator=np.eye(2), random_state=0)
    assert_type(model.fit(X, Y), DivergenceRegularizedINN)
    assert_type(model.adapt(noise_level=0.2), DivergenceRegularizedINN)
    assert_type(model.predict(Y), Array)
    assert_type(model.predict(Y, return_std=True), tuple[Array, Array])
    assert_type(model.posterior_std(Y), Array)
    assert_type(model.posterior_std(Y, return_error=True), tuple[Array, Array])
    assert_type(model.posterior_interval(Y, 0.8), tuple[Array, Array])
    assert_type(model.transform(X), Array)
    assert_type(model.score(X, Y), float)
    assert_type(Reconstructor(model).fit(Y, X), Reconstructor)
    ReconstructionINN(hidden_layer_sizes=(16,), residual=LinearBlock).partial_fit(X, Y)
    AbsoluteINN(max_iter=5).fit(X, Y)
    prior = GaussianMixturePrior([[0.0, 0.0]], 1.0)
    return posterior_mean(prior, Y, noise_level=0.1) + map_estimate(prior, Y, noise_level=0.1)
