"""TODO token."""
