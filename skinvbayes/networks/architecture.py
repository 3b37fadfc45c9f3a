"""What is asked of a network, before a branch has turned it into blocks."""

from dataclasses import dataclass

__all__ = ["Architecture"]

_MANY_FEATURES = 32  # more than that are many


@dataclass(frozen=True)
class Architecture:
    """The size and the settings of a network, as a user gives them.

    Attributes
    ----------
    n_features : int
        Dimension d of the space.
    n_blocks : int
        Number of blocks.
    hidden_layer_sizes : tuple of int or None
        Widths of the hidden layers; None leaves them to the branch.
    n_pieces : int or None
        Number of pieces of each unit of the gradient branch; None leaves it to the branch.
    explicit_inverse : bool
        Whether the network is given by its inverse.
    has_clusters : bool
        Whether such a network has units for clusters of signals, besides those for their scale.
    draws_signals : bool
        Whether any number of signals can be drawn for training.
    lipschitz : float
        Bound L < 1 of the Lipschitz constant of each branch.
    has_operator : bool
        Whether the user gave the operator.
    image_shape : tuple of two int or None
        Height and width, where signals are images.
    kernel_size : int
        Height and width of filters.
    """

    n_features: int
    n_blocks: int = 1
    hidden_layer_sizes: tuple[int, ...] | None = None
    n_pieces: int | None = None
    explicit_inverse: bool = False
    has_clusters: bool = True
    draws_signals: bool = False
    lipschitz: float = 0.999
    has_operator: bool = False
    image_shape: tuple[int, ...] | None = None
    kernel_size: int = 7

    @property
    def has_many_features(self):
        """Whether units for clusters of signals and for their scale are in each other's way."""
        return self.n_features > _MANY_FEATURES

    @property
    def max_condition(self):
        """The largest slope of one block over its smallest: (1 + L)/(1 − L)."""
        return (1 + self.lipschitz) / (1 - self.lipschitz)
