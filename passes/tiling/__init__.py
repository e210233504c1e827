"""Parts of the `tile` pass: one family of layers a file, and what their tiles cost."""
