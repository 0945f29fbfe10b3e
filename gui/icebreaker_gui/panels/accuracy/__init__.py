"""What INT8 costs: accuracy on held-back data, the worst layers, the trade-off, the ranges."""
