"""Graph files: one file for each format."""
