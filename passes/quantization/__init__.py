"""Parts of the `quantize` pass: which values become integers, at which scale, and how."""
