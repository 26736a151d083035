"""How much may be in flight, and how fast: one model for the relay, one for direct paths."""
