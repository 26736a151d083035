"""TODO relay_client."""
