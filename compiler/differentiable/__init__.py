"""The graph in PyTorch: for what needs its gradients, or its outputs with other weights."""
