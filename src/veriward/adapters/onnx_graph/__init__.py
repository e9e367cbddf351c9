"""Feed-forward ONNX graphs as torch modules: reading, the table of operators, and the module that runs them."""
