"""TODO udp."""
