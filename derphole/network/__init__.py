"""netcheck: what the network allows, in words."""
