"""Panes that show the graph, with title, legend and minimap."""
