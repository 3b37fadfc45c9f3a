"""Training of a network on pairs: the stages, the optimisers, the progress."""
