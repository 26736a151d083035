"""The encrypted association of two peers over any number of paths."""
