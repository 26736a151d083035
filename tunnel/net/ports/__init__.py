"""TODO ports."""
