"""The Open Inference Protocol, v2: its routes, tensors, and their description."""
