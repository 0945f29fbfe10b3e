"""Results of jobs as values."""
