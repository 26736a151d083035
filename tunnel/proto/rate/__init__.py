"""TODO rate."""
