"""Functions of the graph in PyTorch: fast, and with gradients."""
