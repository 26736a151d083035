"""Sans-IO machines: time and bytes come in as arguments, decisions go out as values."""
