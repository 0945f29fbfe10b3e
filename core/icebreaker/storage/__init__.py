"""Files, the cache folder, and what is remembered in it."""
