"""Segments as ONNX models."""
