"""Direct UDP paths: what is probed, confirmed, trusted and chosen, and how large its packets are."""
