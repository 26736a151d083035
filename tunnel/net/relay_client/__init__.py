"""Connections to relays: names, TLS, proxies, the public map and the login."""
