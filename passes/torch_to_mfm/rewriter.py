"""What every conversion from torch needs: operands as tensors or constants, results by type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm import BroadcastOp, ConvertOp, ParameterOp, ReshapeOp, TransposeOp
from girih.dialects.mfm.base import DTYPES, element, shape
from girih.dialects.mfm.parameter import narrowed, widened
from girih.passes.base import Compilation

FROM_BUILTIN = "torch_c.from_builtin_tensor"
TO_BUILTIN = "torch_c.to_builtin_tensor"


class NotConvertibleError(Exception):
    """The operation stays in torch; the message is the reason that the report gives."""


Converter = Callable[["Rewriter", ir.OpView], ir.Value]


class Rewriter:
    """Builds `mfm` operations in front of one torch operation."""

    def __init__(self, compilation: Compilation) -> None:
        self.compilation = compilation

    def tensor(self, value: ir.Value) -> ir.Value:
        """The builtin tensor behind a torch tensor value."""
        owner = value.owner
        if isinstance(owner, ir.Block):
            raise NotConvertibleError("an operand is not a tensor")
        if owner.name == FROM_BUILTIN:
            return owner.operands[0]
        return self.cast(TO_BUILTIN, value, self.builtin_type(value))

    def cast(self, name: str, value: ir.Value, result: ir.Type) -> ir.Value:
        """A cast at a seam between torch's tensors and builtin ones."""
        return ir.Operation.create(name, [result], [value]).result

    def builtin_type(self, value: ir.Value) -> ir.RankedTensorType:
        """Builtin type of a torch tensor; refuses what has no static shape or dtype."""
        text = str(value.type)
        if not text.startswith("!torch.vtensor<[") or "?" in text:
            raise NotConvertibleError(f"type {text} is not a tensor of static shape")
        sizes, _, dtype = text.removeprefix("!torch.vtensor<[").removesuffix(">").partition("],")
        dims = [int(size) for size in sizes.split(",") if size]
        return ir.RankedTensorType.get(
            dims, ir.Type.parse(dtype.replace("si", "i").replace("ui", "i"))
        )

    def is_none(self, value: ir.Value) -> bool:
        """Whether an operand is torch's None."""
        return str(value.type) == "!torch.none"

    def constant(self, value: ir.Value) -> Any:
        """Python value of a torch constant or list of constants."""
        owner = value.owner
        if isinstance(owner, ir.Block):
            raise NotConvertibleError("an argument is known only at run time")
        match owner.name:
            case "torch.constant.int" | "torch.constant.float" | "torch.constant.str":
                return owner.attributes["value"].value
            case "torch.constant.bool":
                return bool(owner.attributes["value"].value)
            case "torch.constant.none":
                return None
            case "torch.prim.ListConstruct":
                return [self.constant(item) for item in owner.operands]
            case _:
                raise NotConvertibleError(f"an argument is computed by {owner.name}")

    def array(self, value: ir.Value) -> NDArray[Any]:
        """The array behind a weight; refuses what is not one."""
        owner = value.owner
        if isinstance(owner, ir.Block) or not isinstance(owner.opview, ParameterOp):
            raise NotConvertibleError("a weight is computed at run time")
        return widened(self.compilation.parameters[owner.opview.parameter.value])

    def derived(self, value: ir.Value, how: str, array: NDArray[Any]) -> ir.Value:
        """A new weight made from an old one; `how` completes its name, made once."""
        source = value.owner.opview.parameter.value
        array = narrowed(array, self.compilation.parameters[source])
        return self.parameter(f"{source}.{how}", array, value.type.element_type)

    def parameter(self, name: str, array: NDArray[Any], element_type: ir.Type) -> ir.Value:
        """A reference to an array that is added to the archive under a name."""
        self.compilation.parameters.setdefault(name, array)
        result = ir.RankedTensorType.get(array.shape, element_type)
        return ParameterOp(parameter=ir.StringAttr.get(name), result=result).result

    def scalar(self, value: float, element_type: ir.Type) -> ir.Value:
        """A number as a tensor of no axes."""
        dtype = DTYPES[str(element_type)]
        with np.errstate(over="ignore"):
            array = np.asarray(value).astype(dtype)
        return self.parameter(f"scalar.{element_type}.{array.item()!r}", array, element_type)

    def converted(self, value: ir.Value, element_type: ir.Type) -> ir.Value:
        """The value as another element type; itself where it has that type."""
        if value.type.element_type == element_type:
            return value
        result = ir.RankedTensorType.get(value.type.shape, element_type)
        return ConvertOp(x=value, result=result).result

    def broadcast(self, value: ir.Value, sizes: Sequence[int]) -> ir.Value:
        """The value repeated to a shape; a reshape where nothing is repeated."""
        if element_count(shape(value)) == element_count(sizes):
            return self.reshape(value, sizes)
        result = ir.RankedTensorType.get(list(sizes), value.type.element_type)
        return BroadcastOp(x=value, result=result).result

    def reshape(self, value: ir.Value, sizes: Sequence[int]) -> ir.Value:
        """The value under another shape; itself where the shape is the same."""
        if shape(value) == tuple(sizes):
            return value
        result = ir.RankedTensorType.get(list(sizes), value.type.element_type)
        return ReshapeOp(x=value, result=result).result

    def transpose(self, value: ir.Value, permutation: Sequence[int]) -> ir.Value:
        """The value with its axes in another order; itself where the order is the same."""
        order = list(permutation)
        if order == sorted(order):
            return value
        sizes = [shape(value)[axis] for axis in order]
        result = ir.RankedTensorType.get(sizes, value.type.element_type)
        return TransposeOp(
            x=value, permutation=ir.DenseI64ArrayAttr.get(order), result=result
        ).result

    def require_float32(self, *values: ir.Value) -> None:
        """Refuse other element types than f32."""
        for value in values:
            if element(value) != "f32":
                raise NotConvertibleError(f"element type {element(value)} has no mfm form")


def integer_attribute(value: int, bits: int = 64) -> ir.IntegerAttr:
    """An integer attribute of the given width."""
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(bits), value)


def float_attribute(value: float) -> ir.FloatAttr:
    """A 64-bit float attribute: exact for every Python float."""
    return ir.FloatAttr.get(ir.F64Type.get(), float(value))


def axis_of(axis: int, rank: int) -> int:
    """A torch axis, counted from the front."""
    return axis + rank if axis < 0 else axis


def element_count(sizes: Sequence[int]) -> int:
    """Number of elements of a shape."""
    return int(np.prod(sizes, dtype=np.int64))
