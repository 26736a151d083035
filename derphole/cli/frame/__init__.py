"""TODO frame."""
