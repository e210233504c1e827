"""Complex numbers --> pairs of real ones, along a new last axis: real part, imaginary part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg

aten = torch.ops.aten

_COMPLEX = (torch.complex64, torch.complex128)


def is_complex(node: Any) -> bool:
    """Whether a node is a complex tensor."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, torch.Tensor) and value.dtype in _COMPLEX


def compute_in_pairs(graph: fx.Graph) -> None:
    """Rewrite a graph so that nothing but what comes in is complex.

    ```
    c = mul(view_as_complex(x), view_as_complex(y)); view_as_real(c)
    -->
    stack(x0 y0 - x1 y1, x0 y1 + x1 y0)
    ```
    A graph with a complex operation that is not known here stays as it is, whole.
    """
    nodes = list(graph.nodes)
    affected = [node for node in nodes if node.op == "call_function" and _touches(node)]
    if not affected or any(node.target not in _RULES for node in affected):
        return
    if any(is_complex(node) for node in graph.output_node().all_input_nodes):
        return
    pairs = _Pairs(graph)
    for node in affected:
        pairs.origin = node
        with graph.inserting_before(node):
            pairs.rewrite(node)
    for node in reversed(affected):
        if not node.users:
            graph.erase_node(node)


def _touches(node: fx.Node) -> bool:
    return is_complex(node) or any(is_complex(each) for each in node.all_input_nodes)


class _Pairs:
    """Builds real nodes in front of complex ones."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        self.origin: fx.Node
        self._known: dict[fx.Node, fx.Node] = {}

    def rewrite(self, node: fx.Node) -> None:
        """Note the pair that a complex node becomes, or replace a real one."""
        made = _RULES[node.target](self, *node.args, **node.kwargs)
        if is_complex(node):
            self._known[node] = made
        else:
            node.replace_all_uses_with(made)

    def pair(self, node: fx.Node) -> fx.Node:
        """The real counterpart of a complex node: one more axis, of size 2."""
        if node not in self._known:
            self._known[node] = self.call(aten.view_as_real.default, node)
        return self._known[node]

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """One more operation, with what it gives, at the place of the one that is rewritten."""
        made = self.graph.call_function(target, args, kwargs)
        made.meta = {key: value for key, value in self.origin.meta.items() if key != "tensor_meta"}
        values = map_arg((args, kwargs), lambda each: each.meta["val"])
        mode = next(
            value.fake_mode
            for value in (each.meta["val"] for each in made.all_input_nodes)
            if hasattr(value, "fake_mode")
        )
        with mode, torch.no_grad():
            made.meta["val"] = target(*values[0], **values[1])
        return made

    def parts(self, node: fx.Node) -> tuple[fx.Node, fx.Node]:
        """Real and imaginary part of a complex node."""
        pair = self.pair(node)
        return self.call(aten.select.int, pair, -1, 0), self.call(aten.select.int, pair, -1, 1)

    def stack(self, real: fx.Node, imaginary: fx.Node) -> fx.Node:
        """Two real nodes as a pair."""
        return self.call(aten.stack.default, [real, imaginary], -1)


def _rank(node: fx.Node) -> int:
    return node.meta["val"].dim()


def _product(pairs: _Pairs, lhs: Any, rhs: Any) -> fx.Node:
    if not is_complex(lhs):
        lhs, rhs = rhs, lhs
    if not isinstance(rhs, fx.Node):
        return pairs.call(aten.mul.Tensor, pairs.pair(lhs), rhs)
    if not is_complex(rhs):
        return pairs.call(
            aten.mul.Tensor, pairs.pair(lhs), pairs.call(aten.unsqueeze.default, rhs, -1)
        )
    (a, b), (c, d) = pairs.parts(lhs), pairs.parts(rhs)
    multiply, add, subtract = aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor
    real = pairs.call(subtract, pairs.call(multiply, a, c), pairs.call(multiply, b, d))
    imaginary = pairs.call(add, pairs.call(multiply, a, d), pairs.call(multiply, b, c))
    return pairs.stack(real, imaginary)


def _sum(target: Callable[..., Any]) -> Callable[..., fx.Node]:
    def rule(pairs: _Pairs, lhs: fx.Node, rhs: fx.Node) -> fx.Node:
        if not (is_complex(lhs) and is_complex(rhs)):
            zero = pairs.call(aten.zeros_like.default, lhs if not is_complex(lhs) else rhs)
            lhs, rhs = (
                pairs.pair(each) if is_complex(each) else pairs.stack(each, zero)
                for each in (lhs, rhs)
            )
            return pairs.call(target, lhs, rhs)
        return pairs.call(target, pairs.pair(lhs), pairs.pair(rhs))

    return rule


def _polar(pairs: _Pairs, size: fx.Node, angle: fx.Node) -> fx.Node:
    parts = (pairs.call(each, angle) for each in (aten.cos.default, aten.sin.default))
    return pairs.stack(*(pairs.call(aten.mul.Tensor, size, each) for each in parts))


def _conjugate(pairs: _Pairs, x: fx.Node) -> fx.Node:
    real, imaginary = pairs.parts(x)
    return pairs.stack(real, pairs.call(aten.neg.default, imaginary))


def _size(pairs: _Pairs, x: fx.Node) -> fx.Node:
    squares = [pairs.call(aten.mul.Tensor, each, each) for each in pairs.parts(x)]
    return pairs.call(aten.sqrt.default, pairs.call(aten.add.Tensor, *squares))


def _same(target: Callable[..., Any]) -> Callable[..., fx.Node]:
    return lambda pairs, x, *rest, **options: pairs.call(target, pairs.pair(x), *rest, **options)


def _sized(target: Callable[..., Any]) -> Callable[..., fx.Node]:
    return lambda pairs, x, sizes, **rest: pairs.call(target, pairs.pair(x), [*sizes, 2], **rest)


def _along(target: Callable[..., Any], *, extra: int = 0) -> Callable[..., fx.Node]:
    """An operation on one axis, which counts from the front: the last one is the pair's."""

    def rule(pairs: _Pairs, x: fx.Node, axis: int = 0, *rest: Any) -> fx.Node:
        return pairs.call(target, pairs.pair(x), axis % (_rank(x) + extra), *rest)

    return rule


def _permute(pairs: _Pairs, x: fx.Node, axes: list[int]) -> fx.Node:
    order = [axis % _rank(x) for axis in axes]
    return pairs.call(aten.permute.default, pairs.pair(x), [*order, len(order)])


def _transpose(pairs: _Pairs, x: fx.Node, first: int, second: int) -> fx.Node:
    rank = _rank(x)
    return pairs.call(aten.transpose.int, pairs.pair(x), first % rank, second % rank)


def _concatenate(pairs: _Pairs, parts: list[fx.Node], axis: int = 0) -> fx.Node:
    return pairs.call(
        aten.cat.default, [pairs.pair(each) for each in parts], axis % _rank(parts[0])
    )


_RULES: dict[Any, Callable[..., fx.Node]] = {
    aten.view_as_complex.default: lambda pairs, x: x,
    aten.view_as_real.default: lambda pairs, x: pairs.pair(x),
    aten.real.default: lambda pairs, x: pairs.parts(x)[0],
    aten.imag.default: lambda pairs, x: pairs.parts(x)[1],
    aten.complex.default: lambda pairs, real, imaginary: pairs.stack(real, imaginary),
    aten.polar.default: _polar,
    aten.mul.Tensor: _product,
    aten.mul.Scalar: _product,
    aten.add.Tensor: _sum(aten.add.Tensor),
    aten.sub.Tensor: _sum(aten.sub.Tensor),
    aten.neg.default: _same(aten.neg.default),
    aten.abs.default: _size,
    aten._conj.default: _conjugate,
    aten.conj_physical.default: _conjugate,
    aten.view.default: _sized(aten.view.default),
    aten.reshape.default: _sized(aten.reshape.default),
    aten._unsafe_view.default: _sized(aten._unsafe_view.default),
    aten.expand.default: _sized(aten.expand.default),
    aten.unsqueeze.default: _along(aten.unsqueeze.default, extra=1),
    aten.squeeze.dim: _along(aten.squeeze.dim),
    aten.slice.Tensor: _along(aten.slice.Tensor),
    aten.select.int: _along(aten.select.int),
    aten.transpose.int: _transpose,
    aten.permute.default: _permute,
    aten.cat.default: _concatenate,
    aten.index.Tensor: _same(aten.index.Tensor),
    aten.clone.default: _same(aten.clone.default),
    aten.alias.default: _same(aten.alias.default),
    aten.detach.default: _same(aten.detach.default),
    aten.contiguous.default: _same(aten.contiguous.default),
}
"""How each operation on complex numbers is done on pairs."""
