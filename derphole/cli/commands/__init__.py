"""One module a command: its usage text, and a call of what it runs."""
