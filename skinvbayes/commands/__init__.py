"""The commands of ``python -m skinvbayes``."""
