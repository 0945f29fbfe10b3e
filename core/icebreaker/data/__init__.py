"""Values for a graph's inputs: the user's data sets, and values that are made up."""
