"""INT8: where ranges come from, what quantizing costs, and the quantized model."""
