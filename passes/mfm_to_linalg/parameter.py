"""`mfm.parameter`: one IREE global per distinct weight, its bytes in the program's archive."""

from __future__ import annotations

import re
from typing import Any

from torch_mlir import ir

from girih.runtime.errors import GirihError

PARAMETER_SCOPE = "girih"
"""Scope of the parameters in IREE's archive: the runtime provides it."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.]")


class Globals:
    """The weights of one module. The `util` and `flow` operations are IREE's, unregistered here.

    The global is not mutable, so that IREE computes whatever depends on it alone (a packed
    layout, a sum over a column) once, when the program is loaded.
    """

    def __init__(self, module: ir.Module) -> None:
        self._module = module
        self._symbols: dict[str, tuple[str, ir.Type]] = {}
        self._taken: set[str] = set()
        # Before the first function, after the globals declared so far: the order of first use.
        others = (op for op in module.body.operations if op.operation.name != "util.global")
        self._anchor = next(others, None)

    def load(self, name: str, type_: ir.Type) -> ir.Value:
        """Read the weight at the current insertion point."""
        known = self._symbols.get(name)
        if known is None:
            known = self._declare(name, type_)
        symbol, declared = known
        if declared != type_:
            raise GirihError(f"parameter {name!r} is used as {type_} and as {declared}")
        operation = ir.Operation.create(
            "util.global.load",
            results=[type_],
            attributes={"global": ir.FlatSymbolRefAttr.get(symbol)},
        )
        return operation.results[0]

    def _declare(self, name: str, type_: ir.Type) -> tuple[str, ir.Type]:
        symbol = stem = "parameter." + _UNSAFE.sub("_", name)
        number = 1
        while symbol in self._taken:
            symbol, number = f"{stem}.{number}", number + 1
        scope, key = (ir.StringAttr.get(text) for text in (PARAMETER_SCOPE, name))
        attributes: dict[str, Any] = {
            "sym_name": ir.StringAttr.get(symbol),
            "sym_visibility": ir.StringAttr.get("private"),
            "type": ir.TypeAttr.get(type_),
            "initial_value": ir.Attribute.parse(f"#flow.parameter.named<{scope}::{key}> : {type_}"),
        }
        anchor = self._anchor
        point = ir.InsertionPoint(self._module.body if anchor is None else anchor)
        with point, ir.Location.unknown():
            ir.Operation.create("util.global", attributes=attributes)
        self._taken.add(symbol)
        self._symbols[name] = (symbol, type_)
        return self._symbols[name]
