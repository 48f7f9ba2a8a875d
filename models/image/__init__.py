"""From the bytes of an image to what a model is fed: decoding within limits, resizing, normalising."""
