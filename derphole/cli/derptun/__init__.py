"""The commands of derptun, one module each."""
