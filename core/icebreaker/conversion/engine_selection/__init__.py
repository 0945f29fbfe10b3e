"""Which engine runs a segment: each builds it, is checked against TensorFlow, and the fastest right one wins."""
