"""TODO forwarding."""
