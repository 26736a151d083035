"""Tokens: their text, the grants they carry, and who may claim and come back."""
