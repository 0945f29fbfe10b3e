"""Original and optimized graph measured and compared."""
