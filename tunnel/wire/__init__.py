"""Bytes to frozen values and back: bounded codecs without clock, keys or sockets."""
