"""A client of a DERP relay: its session, what waits to be sent, and the choice of regions."""
