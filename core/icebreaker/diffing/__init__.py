"""Compares any two graphs: which nodes are the same, and what was added, removed and changed. Nothing runs."""
