"""derptun: a link that is kept for months, with tokens that live in files."""
