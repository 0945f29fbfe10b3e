"""What the user likes, whatever the graph: looks, language, what workers may take, what is remembered."""
