"""Models of other kinds that can be looked at: ONNX and TensorFlow Lite."""
