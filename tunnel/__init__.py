"""The encrypted link between two peers: a library; it knows no token, no file and no command."""
