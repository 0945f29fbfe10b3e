"""From a frozen graph to an optimized one."""
