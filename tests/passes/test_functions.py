"""The functions of a module: all of them, and nothing else that a module holds."""

from __future__ import annotations

from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.functions import functions_by_name, functions_of

MODULE = """
module {
  func.func @first() { return }
  module { func.func @inner() { return } }
  func.func @second() { return }
}
"""


def test_functions_are_those_of_the_module_itself_in_order() -> None:
    with create_context():
        module = ir.Module.parse(MODULE)
        assert [function.name.value for function in functions_of(module)] == ["first", "second"]
        assert list(functions_by_name(module)) == ["first", "second"]
