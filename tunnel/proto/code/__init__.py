"""Short codes: a few words lead to a text of the issuer's, by a meeting that anybody sees."""
