"""What a machine can learn of the network it is in."""
