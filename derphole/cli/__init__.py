"""The command line: usage texts, argument checks, output and exit codes."""
