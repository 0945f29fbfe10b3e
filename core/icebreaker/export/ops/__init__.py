"""Own converters to ONNX, by family of ops: those that tf2onnx lacks, and those whose results are not TensorFlow's."""
