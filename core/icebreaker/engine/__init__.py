"""What runs segments: one file for each engine."""
