"""What the graph view is steered with: toolbar, menus, the path to what is chosen."""
