"""What stands beside the graph: details, the why-not list, search."""
