"""Asking routers for ports."""
