"""Addresses as text: an IPv6 literal is in brackets wherever a port or a path may follow."""


def bracketed(host: str) -> str:
    """Write a host as in a URL or before a port."""
    return f"[{host}]" if ":" in host else host


def host_and_port(host: str, port: int) -> str:
    """Write a host and a port as people do."""
    return f"{bracketed(host)}:{port}"
