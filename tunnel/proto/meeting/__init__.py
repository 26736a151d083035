"""Claim and decision: two peers that share a grant become a link, for issuer and claimer."""
