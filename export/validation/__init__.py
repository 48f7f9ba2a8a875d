"""What is proved of a bundle: parity with the eager model, closeness to fp32, accuracy on labelled images."""
