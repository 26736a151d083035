"""Reliable ordered byte streams on a link, and the credit that bounds their memory."""
