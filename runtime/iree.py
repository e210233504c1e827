"""Running compiled modules on the host's CPU with IREE; no MLIR, no torch."""

from __future__ import annotations

import atexit
import functools
import gc
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from iree import runtime
from numpy.typing import NDArray

from girih.runtime.errors import ArtifactError, InputError

Array = NDArray[Any]

PARAMETER_SCOPE = "girih"
"""Scope under which compiled modules ask for their weights."""
CPU_NAME_KEY = "girih.cpu"
CPU_FEATURES_KEY = "girih.cpu_features"
SIGNATURE_KEY = "girih.signature"
"""What the compiler records with every function (JSON: arguments and results, each a list of
element type and shape)."""
DEFAULT_THREADS = 2

_ELEMENT_TYPES: dict[str, tuple[np.dtype[Any], runtime.HalElementType]] = {
    "i1": (np.dtype(np.bool_), runtime.HalElementType.BOOL_8),
    "i8": (np.dtype(np.int8), runtime.HalElementType.SINT_8),
    "i16": (np.dtype(np.int16), runtime.HalElementType.SINT_16),
    "i32": (np.dtype(np.int32), runtime.HalElementType.SINT_32),
    "i64": (np.dtype(np.int64), runtime.HalElementType.SINT_64),
    "f16": (np.dtype(np.float16), runtime.HalElementType.FLOAT_16),
    "f32": (np.dtype(np.float32), runtime.HalElementType.FLOAT_32),
    "f64": (np.dtype(np.float64), runtime.HalElementType.FLOAT_64),
    "complex<f32>": (np.dtype(np.complex64), runtime.HalElementType.COMPLEX_64),
}

# LLVM's names of the instruction sets that compiled code uses, and Linux's names of the same in
# /proc/cpuinfo. Others (virtualization, crypto, ...) never occur in what we compile.
_CPU_FLAGS = {
    "avx": "avx",
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512ifma": "avx512ifma",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "f16c": "f16c",
    "fma": "fma",
    "movbe": "movbe",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
}


@dataclass(frozen=True)
class DeviceTensor:
    """A tensor that stays in IREE's memory between calls; `numpy()` copies it out."""

    view: runtime.HalBufferView
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.view.shape)

    def numpy(self) -> Array:
        """A copy as a NumPy array."""
        mapped = self.view.map().asarray(self.view.shape, self.dtype)
        return np.array(mapped)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.numpy().astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True)
class _Function:
    symbol: runtime.VmFunction
    arguments: list[tuple[np.dtype[Any], runtime.HalElementType, tuple[int, ...]]]
    results: list[np.dtype[Any]]


@functools.cache
def _device(threads: int) -> runtime.HalDevice:
    # The number of threads is a process-wide flag which a device reads when it is created.
    with _DEVICE_LOCK:
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
        return runtime.get_device("local-task", cache=False)


_DEVICE_LOCK = threading.Lock()


GRACE_SECONDS = 1.0
"""How long weights outlive the program that read them, for its workers to let go of them."""


class _Retired:
    """Tables of weights whose programs are gone.

    A worker clears up after the end of a call that it took part in. If the program is gone by
    then, the worker is the last that holds the weights, and IREE would free NumPy's arrays there,
    without Python's lock. Kept here, they are freed later, on a thread of Python's.
    """

    def __init__(self) -> None:
        self.indices: list[runtime.ParameterIndex] = []
        self.is_open = True

    def add(self, index: runtime.ParameterIndex) -> None:
        """Keep a table of weights for `GRACE_SECONDS`."""
        if not self.is_open:
            return
        self.indices.append(index)
        timer = threading.Timer(GRACE_SECONDS, self.drop)
        timer.daemon = True
        timer.start()

    def drop(self) -> None:
        """Let go of the oldest."""
        if self.indices:
            self.indices.pop(0)

    def close(self) -> None:
        """Let go of all, and keep nothing any more: the workers have gone."""
        self.is_open = False
        self.indices.clear()


_retired = _Retired()


@atexit.register
def _release() -> None:
    """Let go of programs before their device, while Python still stands."""
    gc.collect()
    _device.cache_clear()
    _retired.close()


class IreeExecutor:
    """Functions of a compiled module, ready to be called.

    `module` is the result of `girih.compiler.iree.compile_to_vmfb`. `parameters` are its weights:
    arrays by name, which IREE reads in place where they are C-contiguous, or the path of a
    safetensors or IREE parameter (.irpa) file, which is memory-mapped. `threads` is the number of
    worker threads. Raises `ArtifactError` for a module that this CPU can not run, or whose
    weights are missing.

    Calls may come from several threads; each holds the executor for its duration.
    """

    def __init__(
        self,
        module: bytes,
        parameters: Mapping[str, Array] | str | Path | None = None,
        *,
        threads: int = DEFAULT_THREADS,
    ) -> None:
        self._device = _device(threads)
        self._index = parameter_index(parameters)
        self._lock = threading.Lock()
        instance = runtime.VmInstance()
        try:
            compiled = runtime.VmModule.copy_buffer(instance, module)
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"not a module that IREE can load: {_first_line(error)}") from error
        symbols = {
            name: cast(Any, compiled.lookup_function(name))
            for name in compiled.function_names
            if not name.startswith("__")
        }
        for symbol in symbols.values():
            _check_cpu(symbol.reflection)
        self._functions = {
            name: _describe(symbol)
            for name, symbol in symbols.items()
            if SIGNATURE_KEY in symbol.reflection
        }
        provider = self._index.create_provider(scope=PARAMETER_SCOPE)
        modules = [
            runtime.create_hal_module(instance, self._device),
            runtime.create_io_parameters_module(instance, provider),
            compiled,
        ]
        try:
            self._context = runtime.VmContext(instance, modules)
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"IREE can not load the module: {_first_line(error)}") from error

    def __del__(self) -> None:
        # Not there where making the executor failed early.
        index = self.__dict__.get("_index")
        if index is not None:
            _retired.add(index)

    @property
    def functions(self) -> list[str]:
        """Names of the functions that can be called."""
        return sorted(self._functions)

    def to_device(self, array: Array) -> DeviceTensor:
        """Copy an array into IREE's memory, to be passed to any number of calls."""
        array = np.asarray(array, order="C")
        for dtype, element in _ELEMENT_TYPES.values():
            if dtype == array.dtype:
                return DeviceTensor(self._upload(array, element), dtype)
        raise InputError(f"IREE takes no arrays of {array.dtype}")

    def call(
        self, function: str, *inputs: Array | DeviceTensor, resident: bool = False
    ) -> list[Any]:
        """Run a function. Inputs are arrays or what an earlier call left on the device.

        Returns arrays, or with `resident` `DeviceTensor`s. Raises `InputError` for arguments that
        do not fit.
        """
        known = self._functions.get(function)
        if known is None:
            raise InputError(f"no function {function!r}; there are {', '.join(self.functions)}")
        if len(inputs) != len(known.arguments):
            raise InputError(
                f"{function} takes {len(known.arguments)} arguments, found {len(inputs)}"
            )
        packed = runtime.VmVariantList(len(inputs))
        views = [
            self._argument(function, position, given, *expected)
            for position, (given, expected) in enumerate(zip(inputs, known.arguments, strict=True))
        ]
        for view in views:
            packed.push_ref(cast(Any, view))
        produced = runtime.VmVariantList(len(known.results))
        with self._lock:
            self._context.invoke(known.symbol, packed, produced)
        outputs = [
            DeviceTensor(produced.get_as_object(position, runtime.HalBufferView), dtype)
            for position, dtype in enumerate(known.results)
        ]
        return outputs if resident else [output.numpy() for output in outputs]

    def _argument(
        self,
        function: str,
        position: int,
        given: Array | DeviceTensor,
        dtype: np.dtype[Any],
        element: runtime.HalElementType,
        sizes: tuple[int, ...],
    ) -> runtime.HalBufferView:
        if given.dtype != dtype or tuple(given.shape) != sizes:
            raise InputError(
                f"argument {position} of {function} is {given.dtype}{list(given.shape)}, "
                f"expected {dtype}{list(sizes)}"
            )
        if isinstance(given, DeviceTensor):
            return given.view
        return self._upload(np.asarray(given, order="C"), element)

    def _upload(self, array: Array, element: runtime.HalElementType) -> runtime.HalBufferView:
        allocator: Any = self._device.allocator
        return allocator.allocate_buffer_copy(
            runtime.MemoryType.DEVICE_LOCAL,
            runtime.BufferUsage.DEFAULT | runtime.BufferUsage.MAPPING,
            self._device,
            array,
            element,
        )


def parameter_index(parameters: Mapping[str, Array] | str | Path | None) -> runtime.ParameterIndex:
    """IREE's table of weights, over arrays in memory or over a file."""
    index = runtime.ParameterIndex()
    if parameters is None:
        return index
    if isinstance(parameters, (str, Path)):
        try:
            index.load(str(parameters))
        except (ValueError, RuntimeError, OSError) as error:
            raise ArtifactError(f"can not read {parameters}: {_first_line(error)}") from error
        return index
    index.reserve(len(parameters))
    for name, array in parameters.items():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        index.add_buffer(name, flat, readable=True, writable=False)
    return index


def _describe(symbol: runtime.VmFunction) -> _Function:
    given, made = json.loads(symbol.reflection[SIGNATURE_KEY])
    arguments = [(*_ELEMENT_TYPES[kind], tuple(sizes)) for kind, sizes in given]
    return _Function(symbol, arguments, [_ELEMENT_TYPES[kind][0] for kind, _ in made])


def _check_cpu(reflection: Mapping[str, str]) -> None:
    needed = reflection.get(CPU_FEATURES_KEY)
    if needed is None:
        return
    missing = missing_features(needed, _host_flags())
    if missing:
        raise ArtifactError(
            f"compiled for {reflection.get(CPU_NAME_KEY, 'another CPU')}, and this machine lacks "
            f"{', '.join(missing)}: compile it again here"
        )


def missing_features(needed: str, flags: frozenset[str]) -> list[str]:
    """Features (LLVM's names, comma-separated) that are not in a set of /proc/cpuinfo flags.

    Nothing is missing where the flags are unknown (no flags, as off Linux).
    """
    if not flags:
        return []
    wanted = (name for name in needed.split(",") if name in _CPU_FLAGS)
    return [name for name in wanted if _CPU_FLAGS[name] not in flags]


@functools.cache
def _host_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        field, _, value = line.partition(":")
        if field.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].partition("; ")[0]
