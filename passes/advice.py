"""The way out: what to write in the place of an operation that does not compile."""

from __future__ import annotations

import re

_RANDOM = "draw the random numbers outside of the model and pass them as an input"
_SIZE = (
    "its result's size depends on data, and shapes must be known at compile time: keep every "
    "element and choose with torch.where or a mask"
)
_SORTING = "sort outside of the model; torch.argmax and torch.max compile"
_COMPLEX = (
    "compute real and imaginary parts as two real tensors (a Fourier transform of fixed size is a "
    "product with a constant matrix)"
)
_SPARSE = "use dense tensors: call to_dense() before the model"
_BRANCH = "compute both branches and choose with torch.where"
_LOOP = "loop in Python over a fixed number of steps"
_QUANTIZED = "pass the float model: the recipe w8a8 quantizes it"
_STATISTICS = "call eval() on the module: a batch's own statistics are for training"
_DEFAULT = (
    "write it with operations that have one, or keep this part outside of the compiled module"
)

_TABLE: tuple[tuple[str, str], ...] = (
    (r"native_dropout|dropout", "programs run in eval mode: leave dropout out, or pass the mask"),
    (
        r"rand|normal_functional|bernoulli|multinomial|uniform|exponential|poisson|geometric",
        _RANDOM,
    ),
    (r"nonzero|unique|masked_select|index\b|repeat_interleave|bincount", _SIZE),
    (r"_local_scalar_dense|\bitem\b", "keep the value in a tensor, or make it a Python constant"),
    (r"sort|topk|kthvalue|median|mode\b", _SORTING),
    (r"_sparse|sparse_|to_sparse|_coo_|_csr_", _SPARSE),
    (r"fft|complex|polar|view_as_real|_conj|angle", _COMPLEX),
    (r"\bcond\b", _BRANCH),
    (r"while_loop|\bscan\b|associative_scan|\bmap_impl\b", _LOOP),
    (r"quantize_|quantized|_packed", _QUANTIZED),
    (
        r"batch_norm(?!.*no_training)",
        "call eval() on the module: only running statistics are constants",
    ),
)


def way_out(operation: str) -> str:
    """What to do about an operation, by its name in torch or in torch's dialect."""
    name = operation.removeprefix("torch.").removeprefix("aten.")
    return next((advice for pattern, advice in _TABLE if re.search(pattern, name)), _DEFAULT)
