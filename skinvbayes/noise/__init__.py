"""The noise of the measurements."""
