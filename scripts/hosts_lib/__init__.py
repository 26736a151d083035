"""Checks of a program between two machines, or on one: scripts/two-hosts and scripts/live-check."""
