"""The docks: one file for each."""
