"""TODO relay_server."""
