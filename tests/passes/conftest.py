"""Small quantized graphs with random weights, compiled for a target and run on the simulator."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.codegen import generate
from girih.compiler.context import create_context
from girih.dialects import arithmetic, mfm, npu
from girih.dialects.mfm.assembly import BroadcastOp, ConcatenateOp
from girih.passes import tile
from girih.passes.allocate import Allocate
from girih.passes.arrange_dram import ArrangeDram
from girih.passes.base import Compilation
from girih.passes.interpreter import interpret
from girih.passes.partition import NPU
from girih.passes.peel import Peel
from girih.passes.synchronize import Synchronize
from girih.passes.tile import Tile
from girih.passes.tiling import choice, mapping
from girih.passes.tiling.chain import chain_from
from girih.passes.tiling.normed_product import NormedProductTiler
from girih.passes.tiling.search import Found
from girih.passes.tiling.search import search as search_tiles
from girih.runtime.executable import Kernel
from girih.runtime.simulator import Machine, SimulationResult
from girih.runtime.target import Target

Array = NDArray[Any]

_ELEMENTS = {"bool": "i1", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64"}
_NUMPY = {element: name for name, element in _ELEMENTS.items()}


@cache
def shared_context() -> ir.Context:
    """One context for all graphs of a test run."""
    return create_context()


class Graph:
    """Builds one accelerator function; `run` compiles it and executes it both ways.

    Methods named after operations append them and return their result. Random numbers come from a
    seed, so that an example can be repeated.
    """

    def __init__(
        self, arguments: Sequence[Array], seed: int = 0, states: Sequence[str | None] = ()
    ):
        self.random = np.random.default_rng(seed)
        self.inputs = list(arguments)
        self.parameters: dict[str, Array] = {}
        self.packs = False
        self.context = shared_context()
        states = [*states, *[None] * (len(self.inputs) - len(states))]
        with self.context, ir.Location.unknown():
            self.module = ir.Module.create()
            types = [self._type(array.shape, array.dtype) for array in self.inputs]
            with ir.InsertionPoint(self.module.body):
                self.function = func.FuncOp("main", (types, []))
            self.function.attributes[NPU] = ir.UnitAttr.get()
            self.function.attributes["arg_attrs"] = self._attributes(states)
            self.block = self.function.add_entry_block()
        self.arguments = list(self.block.arguments)

    def _type(self, shape: Sequence[int], dtype: Any) -> ir.Type:
        with self.context, ir.Location.unknown():
            element = ir.Type.parse(_ELEMENTS[np.dtype(dtype).name])
            return ir.RankedTensorType.get(list(shape), element)

    def _attributes(self, states: Sequence[str | None]) -> ir.ArrayAttr:
        return ir.ArrayAttr.get(
            [
                ir.DictAttr.get({"mfm.state": ir.StringAttr.get(state)} if state else {})
                for state in states
            ]
        )

    def build(self, make: Callable[[], Any], layer: str = "") -> ir.Value:
        """Append what `make` makes; its location is the layer's name."""
        with self.context, ir.InsertionPoint(self.block):
            location = ir.Location.name(layer) if layer else ir.Location.unknown()
            with location:
                return make().results[0]

    def number(self, value: int) -> ir.IntegerAttr:
        """An i64 attribute."""
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), int(value))

    def parameter(self, array: Array) -> ir.Value:
        """A weight."""
        name = f"weight{len(self.parameters)}"
        self.parameters[name] = np.ascontiguousarray(array)
        return self.build(
            lambda: mfm.ParameterOp(ir.StringAttr.get(name), self._type(array.shape, array.dtype))
        )

    def scales(self, count: int, factor: float, biased: bool = True) -> list[Array]:
        """Bias, multiplier and shift of `count` channels around a factor."""
        factors = factor * self.random.uniform(0.5, 2, count)
        pairs = np.array([arithmetic.scale_to_multiplier(float(f)) for f in factors], np.int32)
        bias = self.random.integers(-(1 << 10), 1 << 10, count, np.int32)
        return [bias * np.int32(biased), pairs[:, 0], pairs[:, 1]]

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """Static shape of a value."""
        return tuple(value.type.shape)

    def weights(self, *shape: int) -> ir.Value:
        """Random int8 weights."""
        return self.parameter(self.random.integers(-128, 128, shape, np.int8))

    def packed_weights(self, outputs: int, depth: int) -> ir.Value:
        """Random weights of 4 bits, unpacked."""
        groups = depth // arithmetic.GROUP
        packed = arithmetic.pack_groups(
            self.random.integers(-8, 8, (outputs, depth), np.int8),
            self.random.integers(0, 19, (outputs, groups), np.int8),
        )
        weight = self.parameter(packed)
        kind = self._type((outputs, depth), np.int8)
        return self.build(lambda: mfm.UnpackOp(weight, kind))

    # Operations.

    def linear(self, x: ir.Value, outputs: int, element: str = "i8", layer: str = "") -> ir.Value:
        """integer_linear to `outputs` channels, of weights of 4 bits where the graph `packs`."""
        depth = self.shape(x)[-1]
        packs = self.packs and depth % arithmetic.GROUP == 0
        weight = (self.packed_weights if packs else self.weights)(outputs, depth)
        wide = 1 if element == "i8" else 200
        factor = wide / (80 * np.sqrt(depth))
        parameters = self.parameter(np.stack(self.scales(outputs, factor)))
        kind = self._type((*self.shape(x)[:-1], outputs), _NUMPY[element])
        return self.build(lambda: mfm.IntegerLinearOp(x, weight, parameters, kind), layer)

    def conv1d(
        self,
        x: ir.Value,
        outputs: int,
        kernel: int,
        stride: int,
        padding: int,
        element: str = "i8",
        layer: str = "",
    ) -> ir.Value:
        """integer_conv1d to `outputs` channels."""
        batch, length, channels = self.shape(x)
        weight = self.weights(outputs, kernel * channels)
        wide = 1 if element == "i8" else 200
        factor = wide / (80 * np.sqrt(kernel * channels))
        parameters = self.parameter(np.stack(self.scales(outputs, factor)))
        steps = (length + 2 * padding - kernel) // stride + 1
        kind = self._type((batch, steps, outputs), _NUMPY[element])
        return self.build(
            lambda: mfm.IntegerConv1dOp(
                x,
                weight,
                parameters,
                kind,
                self.number(kernel),
                self.number(stride),
                self.number(padding),
            ),
            layer,
        )

    def layer_norm(self, x: ir.Value, element: str = "i8", layer: str = "") -> ir.Value:
        """integer_layer_norm."""
        width = self.shape(x)[-1]
        gamma = self.random.integers(1 << 8, 1 << 12, width, np.int32)
        beta = self.random.integers(-(1 << 10), 1 << 10, width, np.int32)
        parameters = self.parameter(np.stack([gamma, beta]))
        kind = self._type(self.shape(x), _NUMPY[element])
        return self.build(
            lambda: mfm.IntegerLayerNormOp(
                x, parameters, kind, self.number(40), self.number(20 if element == "i8" else 13)
            ),
            layer,
        )

    def rms_norm(self, x: ir.Value, element: str = "i8", layer: str = "") -> ir.Value:
        """integer_rms_norm."""
        gamma = self.random.integers(1 << 8, 1 << 12, (1, self.shape(x)[-1]), np.int32)
        parameters = self.parameter(gamma)
        kind = self._type(self.shape(x), _NUMPY[element])
        return self.build(
            lambda: mfm.IntegerRmsNormOp(
                x, parameters, kind, self.number(40), self.number(20 if element == "i8" else 13)
            ),
            layer,
        )

    def gelu(self, x: ir.Value, element: str = "i8", layer: str = "") -> ir.Value:
        """integer_gelu."""
        width = self.shape(x)[-1]
        _, multiplier, shift = self.scales(width, (1 if element == "i8" else 100) / (256 * 100))
        parameters = self.parameter(np.stack([multiplier, shift]))
        table = self.parameter(mfm.activation.ramp_table(1 / 2000, "gelu"))
        kind = self._type(self.shape(x), _NUMPY[element])
        index, index_shift = arithmetic.scale_to_multiplier(128 / 2000)
        return self.build(
            lambda: mfm.IntegerGeluOp(
                x,
                parameters,
                table,
                kind,
                self.number(index),
                self.number(index_shift),
                # Both halves of int8; of int16, some offset.
                self.number(-120 if element == "i8" else 7),
            ),
            layer,
        )

    def add(self, lhs: ir.Value, rhs: ir.Value, element: str = "i16", layer: str = "") -> ir.Value:
        """integer_add."""
        sizes = np.broadcast_shapes(self.shape(lhs), self.shape(rhs))
        kind = self._type(sizes, _NUMPY[element])
        return self.build(
            lambda: mfm.IntegerAddOp(
                lhs, rhs, kind, self.number(1 << 14), self.number(3 << 12), self.number(15)
            ),
            layer,
        )

    def multiply(
        self, lhs: ir.Value, rhs: ir.Value, element: str = "i8", layer: str = ""
    ) -> ir.Value:
        """integer_multiply: bytes by bytes, or wider by wider, to about half the range."""
        sizes = np.broadcast_shapes(self.shape(lhs), self.shape(rhs))
        kind = self._type(sizes, _NUMPY[element])
        bits = sum(8 if str(v.type.element_type) == "i8" else 16 for v in (lhs, rhs))
        shift = 29 + bits - (8 if element == "i8" else 16)
        return self.build(
            lambda: mfm.IntegerMultiplyOp(lhs, rhs, kind, self.number(3 << 29), self.number(shift)),
            layer,
        )

    def matmul(
        self,
        lhs: ir.Value,
        rhs: ir.Value,
        element: str = "i8",
        transposed: bool = False,
        layer: str = "",
    ) -> ir.Value:
        """integer_matmul."""
        *batch, rows, depth = self.shape(lhs)
        columns = self.shape(rhs)[-2 if transposed else -1]
        kind = self._type((*batch, rows, columns), _NUMPY[element])
        factor = (1 if element == "i8" else 200) / (80 * np.sqrt(depth))
        multiplier, shift = arithmetic.scale_to_multiplier(factor)
        return self.build(
            lambda: mfm.IntegerMatmulOp(
                lhs,
                rhs,
                kind,
                self.number(multiplier),
                self.number(shift),
                self.number(transposed),
            ),
            layer,
        )

    def transpose(self, x: ir.Value, *order: int) -> ir.Value:
        """transpose."""
        kind = self._type([self.shape(x)[axis] for axis in order], _NUMPY[str(x.type.element_type)])
        return self.build(lambda: mfm.TransposeOp(x, kind, ir.DenseI64ArrayAttr.get(list(order))))

    def concatenate(self, axis: int, *parts: ir.Value) -> ir.Value:
        """concatenate."""
        sizes = list(self.shape(parts[0]))
        sizes[axis] = sum(self.shape(part)[axis] for part in parts)
        kind = self._type(sizes, _NUMPY[str(parts[0].type.element_type)])
        return self.build(lambda: ConcatenateOp.of(parts, kind, self.number(axis)))

    def broadcast(self, x: ir.Value, *sizes: int) -> ir.Value:
        """broadcast."""
        kind = self._type(sizes, _NUMPY[str(x.type.element_type)])
        return self.build(lambda: BroadcastOp(x, kind))

    def rescale(self, x: ir.Value, element: str, layer: str = "") -> ir.Value:
        """rescale."""
        kind = self._type(self.shape(x), _NUMPY[element])
        return self.build(
            lambda: mfm.RescaleOp(x, kind, self.number(1 << 30), self.number(31)), layer
        )

    def attention(
        self,
        query: ir.Value,
        key: ir.Value,
        value: ir.Value,
        causal: bool = False,
        mask: ir.Value | None = None,
        layer: str = "",
    ) -> ir.Value:
        """integer_attention."""
        batch, queries, heads, depth = self.shape(query)
        kind = self._type((batch, queries, heads, self.shape(value)[3]), np.int8)
        score = arithmetic.scale_to_multiplier(0.2 / np.sqrt(depth))
        output = self.random.integers(1 << 30, 1 << 31)
        return self.build(
            lambda: mfm.IntegerAttentionOp(
                query,
                key,
                value,
                kind,
                self.number(score[0]),
                self.number(score[1]),
                self.number(output),
                self.number(38),
                # An i64, as the importer makes it.
                self.number(causal),
                mask=mask,
            ),
            layer,
        )

    def embedding(self, indices: ir.Value, table: ir.Value) -> ir.Value:
        """embedding."""
        element = np.dtype(_NUMPY[str(table.type.element_type)])
        kind = self._type((*self.shape(indices), self.shape(table)[1]), element)
        return self.build(lambda: mfm.EmbeddingOp(indices, table, kind))

    def integer_embedding(self, indices: ir.Value, rows: int, columns: int) -> ir.Value:
        """integer_embedding with a table of its own."""
        table = self.weights(rows, columns)
        parameters = self.parameter(np.stack(self.scales(rows, 50, biased=False), axis=1))
        kind = self._type((*self.shape(indices), columns), np.int16)
        return self.build(lambda: mfm.IntegerEmbeddingOp(indices, table, parameters, kind))

    def cache_update(self, cache: ir.Value, position: ir.Value, rows: ir.Value) -> ir.Value:
        """cache_update."""
        return self.build(lambda: mfm.CacheUpdateOp(cache, position, rows, cache.type))

    def reshape(self, x: ir.Value, *sizes: int) -> ir.Value:
        """reshape."""
        kind = self._type(sizes, _NUMPY[str(x.type.element_type)])
        return self.build(lambda: mfm.ReshapeOp(x, kind))

    def slice(
        self,
        x: ir.Value,
        offsets: Sequence[int],
        strides: Sequence[int],
        sizes: Sequence[int],
    ) -> ir.Value:
        """slice."""
        kind = self._type(sizes, _NUMPY[str(x.type.element_type)])
        return self.build(
            lambda: mfm.SliceOp(
                x,
                kind,
                ir.DenseI64ArrayAttr.get(list(offsets)),
                ir.DenseI64ArrayAttr.get(list(strides)),
            )
        )

    # Compiling and running.

    def finish(self, *results: ir.Value, states: Sequence[str | None] = ()) -> None:
        """Return results; `states` names those that are states."""
        states = [*states, *[None] * (len(results) - len(states))]
        with self.context, ir.Location.unknown():
            with ir.InsertionPoint(self.block):
                func.ReturnOp(list(results))
            kind = ir.FunctionType.get(
                [argument.type for argument in self.arguments], [value.type for value in results]
            )
            self.function.attributes["function_type"] = ir.TypeAttr.get(kind)
            self.function.attributes["res_attrs"] = self._attributes(states)
        assert self.module.operation.verify()

    def reference(self) -> list[Array]:
        """Results by `reference()`; call it before `compile`, which rewrites the module."""
        with self.context:
            return interpret(self.function, self.inputs, self.parameters)

    def compile(self, target: Target, fuse: bool = True) -> Compiled:
        """Machine code for the target."""
        compilation = Compilation(parameters=self.parameters, target=target)
        with self.context, ir.Location.unknown():
            for each in (Tile(fuse=fuse), Peel(), Allocate(), ArrangeDram(), Synchronize()):
                each.run(self.module, compilation)
                assert self.module.operation.verify()
            kernels, top = generate(self.module, target)
        return Compiled(self, target, kernels["main"], top)

    def check(self, target: Target, fuse: bool = True) -> SimulationResult:
        """Compare three executions bit for bit: of the graph by `reference()`, of the tiled machine
        code by the instructions' `reference()`, and of the program on the simulator."""
        expected = self.reference()
        compiled = self.compile(target, fuse)
        with self.context:
            interpreted = Interpreter(self).run()
        for index, (left, right) in enumerate(zip(interpreted, expected, strict=True)):
            np.testing.assert_array_equal(left, right, err_msg=f"result {index}, interpreted")
        found, statistics = compiled.run()
        assert len(found) == len(expected)
        for index, (left, right) in enumerate(zip(found, expected, strict=True)):
            np.testing.assert_array_equal(left, right, err_msg=f"result {index}")
        return statistics


class Interpreter:
    """Runs `npu` code through `reference()`: no engines, no addresses, each buffer by itself."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.memory: dict[ir.Value, NDArray[np.uint8]] = {}
        (self.program,) = graph.module.body.operations
        self.results: dict[int, tuple[ir.Value, Any]] = {}

    def run(self) -> list[Array]:
        """Results in order; programs with states are not for this."""
        for op in self.program.body.blocks[0].operations:
            if isinstance(op, npu.DramOp):
                self._declare(op)
            else:
                self._step(op, [])
        found: list[Array] = []
        for _, (buffer, shape) in sorted(self.results.items()):
            found.append(self.memory[buffer].view(npu.base.dtype(buffer)).reshape(shape))
        return found

    def _declare(self, op: npu.DramOp) -> None:
        dtype, shape = npu.base.dtype(op.buffer), tuple(op.buffer.type.shape)
        content = np.zeros(shape, dtype)
        if op.role.value == "parameter":
            content = self.graph.parameters[op.tensor.value]
        elif op.role.value == "argument":
            content = self.graph.inputs[op.index.value]
        elif op.role.value == "result":
            self.results[op.index.value] = op.buffer, shape
        stored = np.array(content.astype(dtype), order="C").reshape(-1)
        self.memory[op.buffer] = stored.view(np.uint8)

    def _step(self, op: Any, iterations: list[int]) -> None:
        if isinstance(op, npu.AllocateOp):
            size = npu.base.slots(op.buffer) * npu.base.slot_bytes(op.buffer)
            self.memory[op.buffer] = np.zeros(size, np.uint8)
        elif isinstance(op, npu.LoopOp):
            for iteration in range(op.count.value):
                for inner in op.body.blocks[0].operations:
                    self._step(inner, [*iterations, iteration])
        else:
            self._execute(op, iterations)

    def _execute(self, op: npu.Instruction, iterations: list[int]) -> None:
        tiles = [self._tile(op, index, iterations) for index in range(len(op.operands))]
        results = op.reference(*(tile.copy() for tile in tiles))
        results = results if isinstance(results, tuple) else (results,)
        for index, result in zip(op.WRITES, results, strict=True):
            assert result.dtype == tiles[index].dtype
            tiles[index][...] = result

    def _tile(self, op: npu.Instruction, index: int, iterations: list[int]) -> Array:
        buffer, access = op.operands[index], op.view(index)
        rows, row_bytes = op.extent(index)
        moved = list(zip(access.stride, iterations, strict=False))
        offset = access.offset + sum(step * iteration for step, iteration in moved)
        if npu.base.space(buffer) != "dram":
            turned = zip(access.ring, iterations, strict=False)
            slot = access.phase + sum(step * iteration for step, iteration in turned)
            offset += slot % npu.base.slots(buffer) * npu.base.slot_bytes(buffer)
        transfer = isinstance(op, npu.DmaInOp | npu.DmaOutOp) and index < 2
        if transfer and len(op.operands) == 3 and index == int(isinstance(op, npu.DmaOutOp)):
            step, count = list(op.immediates)[:2]
            number = int(self._tile(op, 2, iterations)[0, 0])
            assert 0 <= number < count
            offset += number * step
        dtype = np.dtype(np.int8) if transfer else npu.base.dtype(buffer)
        memory = self.memory[buffer]
        extent = (rows - 1) * access.pitch + row_bytes
        assert 0 <= offset <= len(memory) - extent, f"{op} leaves its buffer"
        return np.ndarray(
            (rows, row_bytes // dtype.itemsize),
            dtype,
            memory.data,
            offset,
            (access.pitch if rows > 1 else row_bytes, dtype.itemsize),
        )


@dataclass
class Compiled:
    """Machine code and a machine with the weights in its memory."""

    graph: Graph
    target: Target
    kernel: Kernel
    dram_bytes: int
    machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        self.machine = Machine(self.target, dram_bytes=self.dram_bytes, threads=1)

    def run(self) -> tuple[list[Array], SimulationResult]:
        """Run on the graph's inputs; results in order, and what the run cost."""
        for tensor in self.kernel.dram:
            if tensor.role == "parameter":
                value = self.graph.parameters[tensor.name]
            elif tensor.role == "argument" or (
                tensor.role == "state" and tensor.index < len(self.graph.inputs)
            ):
                value = self.graph.inputs[tensor.index]
            else:
                continue
            data = np.ascontiguousarray(value.astype(tensor.dtype))
            self.machine.write_dram(tensor.address, data)
        statistics = self.machine.run(self.kernel.program)
        return self._results(), statistics

    def _results(self) -> list[Array]:
        results = [t for t in self.kernel.dram if t.role == "result"]
        return [
            self.machine.read_array(tensor.address, tensor.shape, tensor.dtype)
            for tensor in sorted(results, key=lambda tensor: tensor.index)
        ]


def small_target(**changes: Any) -> Target:
    """The `small` preset with fields replaced; `array` and `lanes` are shorthands."""
    values = Target.load("small").model_dump()
    values["name"] = "changed"
    if "array" in changes:
        values["array"]["rows"], values["array"]["columns"] = changes.pop("array")
    if "lanes" in changes:
        values["vector"]["lanes"] = changes.pop("lanes")
    if "bandwidth" in changes:
        values["dram"]["bandwidth_bytes_per_second"] = changes.pop("bandwidth")
    values.update(changes)
    return Target.model_validate(values)


@pytest.fixture(scope="session")
def graph() -> type[Graph]:
    """The builder of graphs."""
    return Graph


@pytest.fixture(scope="session")
def make_target() -> Callable[..., Target]:
    """`small_target`."""
    return small_target


HAND_CHANGED = {
    "array": (24, 24),
    "scratchpad_bytes": 96 * 1024,
    "bandwidth": 5_000_000_000,
}


@contextmanager
def _forced(tiles: Any, region: type[Any] | None = None) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:

        def search(candidates: Any, measure: Any, target: Target) -> Any:
            known = list(candidates)
            if known and isinstance(known[0].tiles, type(tiles)):
                measured = measure(tiles)
                if measured is not None:
                    return Found(tiles, measured, False)
            return search_tiles(known, measure, target)

        def cheapest(tiler: Any, op: Any) -> Any:
            chain = chain_from(op)
            if chain is None or region is None:
                return None
            if region is NormedProductTiler:
                if chain.before is not None:
                    return None
                chain = replace(chain, afters=())
            found = region(tiler, chain)
            return found if found.find() is not None else None

        patch.setattr(choice, "search", search)
        patch.setattr(mapping, "_KNOWN", {})
        if region is not None:
            patch.setattr(tile, "cheapest_region", cheapest)
        yield


@pytest.fixture(scope="session")
def forced() -> Any:
    """``with forced(tiles):`` regions get these tiles, where they fit, whatever they cost.

    With a region's tiler too, every chain of layers becomes such a region.
    """
    return _forced


@pytest.fixture(scope="session")
def hand_changed() -> Target:
    """A target that fits no preset: 24 x 24 array, 96 KiB scratchpad, 5 GB/s."""
    return small_target(**HAND_CHANGED)
