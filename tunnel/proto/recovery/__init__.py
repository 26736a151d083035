"""What is in flight on a path: acknowledgements, round-trip times and losses."""
