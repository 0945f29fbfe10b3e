"""Which nodes go into engines together."""
