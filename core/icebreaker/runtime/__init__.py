"""Optimized graphs: how they are written, read and run."""
