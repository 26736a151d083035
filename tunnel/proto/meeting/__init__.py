"""TODO meeting."""
