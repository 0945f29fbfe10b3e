"""Ops, engine layers and op types as tables, linked to the graph."""
