"""From linalg to an IREE module for this machine's CPU, through `iree-compile`."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from iree.compiler.tools.binaries import find_tool
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.runtime.errors import CompilationError
from girih.runtime.iree import CPU_FEATURES_KEY, CPU_NAME_KEY, SIGNATURE_KEY

PACKING = "--iree-opt-data-tiling"
"""Matrices are packed into the order in which the multiplying kernel reads them."""
DEFAULT_FLAGS: tuple[str, ...] = (
    PACKING,
    "--iree-llvmcpu-enable-ukernels=all",
    # The integer layer norm takes its square root in float64: it must stay that wide.
    "--iree-input-demote-f64-to-f32=false",
)
"""Options of every compilation. Without the first two, int8 products are three times slower."""

_CPU = re.compile(r'cpu = "([^"]*)", cpu_features = "([^"]*)"')
_ERROR = re.compile(r"error: (.*)")
_PROBE = b"""
func.func @f(%x: tensor<8xf32>) -> tensor<8xf32> {
  %y = arith.addf %x, %x : tensor<8xf32>
  return %y : tensor<8xf32>
}
"""


@functools.cache
def host_cpu() -> tuple[str, str]:
    """LLVM's name for this machine's CPU and the features it has (``avx2,avx512f,...``)."""
    text = _iree_compile(_PROBE, ("--compile-to=executable-sources",), "cpu probe").decode()
    match = _CPU.search(text)
    if match is None:
        raise CompilationError("iree-compile does not say which CPU it compiles for")
    # The name implies features that this machine may lack; what comes later wins.
    present: dict[str, bool] = {}
    for feature in match.group(2).split(","):
        present[feature[1:]] = feature.startswith("+")
    return match.group(1), ",".join(sorted(name for name, has in present.items() if has))


def byte_tile() -> tuple[int, int]:
    """Rows and depth of the tiles of IREE's byte kernel here: options of convert-mfm-to-linalg."""
    features = set(host_cpu()[1].split(","))
    if "avx512bw" in features:
        return 16, 2
    if "i8mm" in features:
        return 8, 8
    return (8, 4) if "dotprod" in features else (8, 2)


def compile_to_vmfb(
    module: ir.Module, *, name: str = "program", flags: Sequence[str] = ()
) -> bytes:
    """Compile a module of func, linalg, tensor, arith and math for this machine's CPU.

    The module must be named (``module @program``) and the result's functions are called
    ``program.<function>``. Every function carries its signature and the CPU that it was compiled
    for: `girih.runtime.iree` reads both when it loads them. `flags` come after `DEFAULT_FLAGS`;
    `name` is for error messages. Raises `CompilationError` with IREE's first error.
    """
    cpu, features = host_cpu()
    with module.context:
        for op in module.body.operations:
            if isinstance(op, func.FuncOp) and not op.is_external:
                record = {
                    CPU_NAME_KEY: cpu,
                    CPU_FEATURES_KEY: features,
                    SIGNATURE_KEY: json.dumps([_types(op.type.inputs), _types(op.type.results)]),
                }
                op.operation.attributes["iree.reflection"] = ir.DictAttr.get(
                    {key: ir.StringAttr.get(value) for key, value in record.items()}
                )
    buffer = BytesIO()
    module.operation.write_bytecode(buffer)
    chosen = (*DEFAULT_FLAGS, *flags)
    try:
        return _iree_compile(buffer.getvalue(), chosen, name)
    except CompilationError:
        # IREE 3.13 fails on some truth values that meet packed matrices in one loop, and does not
        # survive reading some modules as bytes. As text, and without packing, it is slower.
        text = module.operation.get_asm(enable_debug_info=True).encode()
        unpacked = tuple(flag for flag in chosen if flag != PACKING)
        return _iree_compile(text, unpacked, name)


def _types(types: Sequence[ir.Type]) -> list[tuple[str, list[int]]]:
    tensors = [ir.RankedTensorType(type_) for type_ in types]
    return [(str(tensor.element_type), list(tensor.shape)) for tensor in tensors]


def _iree_compile(source: bytes, flags: tuple[str, ...], name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="girih-") as folder:
        given, made = Path(folder) / "input.mlirbc", Path(folder) / "output"
        given.write_bytes(source)
        command = [
            find_tool("iree-compile"),
            str(given),
            f"-o={made}",
            "--iree-input-type=none",
            "--iree-hal-target-backends=llvm-cpu",
            "--iree-llvmcpu-target-cpu=host",
            f"--iree-llvmcpu-embedded-linker-path={find_tool('iree-lld')}",
            *flags,
        ]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            raise CompilationError(_explain(done, name))
        return made.read_bytes()


def _explain(done: subprocess.CompletedProcess[bytes], name: str) -> str:
    text = done.stderr.decode(errors="replace")
    match = _ERROR.search(text)
    if match is not None:
        return f"IREE can not compile {name}: {match.group(1)}"
    if done.returncode < 0:
        return f"iree-compile was killed by signal {-done.returncode} while compiling {name}"
    last = text.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return f"IREE can not compile {name}: {last[0]}"
