"""TODO netcheck."""
