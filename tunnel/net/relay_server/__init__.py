"""The embedded relay on real sockets."""
