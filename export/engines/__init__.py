"""Engines of TensorRT and TensorRT RTX, built on the machine that runs them."""
