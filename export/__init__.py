"""How a model becomes a bundle that can be trusted: TorchScript, ONNX, and the proof of parity."""
