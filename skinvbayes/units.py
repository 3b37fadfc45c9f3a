"""A module of version 0.1, which the pickles of its fitted estimators ask for first."""

__all__ = ["Units"]


class Units:
    """A class of 0.1; whoever makes one is loading a model of that version."""

    def __new__(cls, *args, **kwargs):
        """Say what to do instead."""
        raise ValueError(
            "This model was stored by version 0.1 of skinvbayes, whose networks this version "
            "cannot read. Fit again, or install version 0.1 to load it."
        )
