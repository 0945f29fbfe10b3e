"""Help: first steps, and all keys."""
