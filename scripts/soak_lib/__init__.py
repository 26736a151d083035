"""The soak: conversations in the lab under faults that go on; see scripts/soak --help."""
