"""From a compressed network to what runs it: one graph, then C99 or ONNX."""
