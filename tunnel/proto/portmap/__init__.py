"""TODO portmap."""
