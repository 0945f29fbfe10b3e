"""Graphs in TensorFlow: sessions, and graphs rewritten with its functions."""
