"""Precisions that are made from the fp32 ONNX file: float16 and 8-bit integers."""
