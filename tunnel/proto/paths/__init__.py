"""Direct UDP paths: which are probed, confirmed, trusted and chosen, and their packet sizes."""
