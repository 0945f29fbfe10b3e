"""The quantized ONNX model: what of a float model can be quantized, by which rules, and its Q/DQ nodes."""
