"""Numerical tools that know nothing of inverse problems: derivatives, norms, equations."""
