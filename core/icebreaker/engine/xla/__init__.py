"""XLA: TensorFlow's own compiler, whose engine is a function inside the written graph."""
