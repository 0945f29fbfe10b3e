"""Graphs without TensorFlow: nodes and tensors, shapes, weights beside the file, what a graph may do."""
