"""The embedded relay: a DERP server, a STUN responder, and their limits."""
