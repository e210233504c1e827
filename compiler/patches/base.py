"""What a patch is: how a model class that `torch.export` cannot trace is traced all the same.

A patch replaces methods of recognized modules while they are exported, and only then: the user's
model is as it was afterwards. What a method needs to know in advance, such as the grid of an
image, comes from one eager run on the example inputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from girih.compiler.patches.decisions import Decisions, recorded


@dataclass(frozen=True)
class Call:
    """One call that was seen in the eager run: its arguments by name, and its result."""

    arguments: Mapping[str, Any]
    result: Any


@dataclass(frozen=True)
class Site:
    """A recognized module and the calls of its recorded methods, in order."""

    module: nn.Module
    calls: Mapping[str, Sequence[Call]]

    def constant(self, method: str, argument: str) -> Any:
        """The value that an argument had in the first recorded call of a method.

        It becomes part of the program, so calls that disagree are refused.
        """
        values = [call.arguments.get(argument) for call in self.calls[method]]
        if not values:
            raise LookupError(f"{type(self.module).__name__}.{method} was not called")
        if any(not _same(value, values[0]) for value in values[1:]):
            raise LookupError(
                f"{type(self.module).__name__}.{method} is called with several values of {argument}"
            )
        return values[0]


@dataclass(frozen=True)
class Replacement:
    """An attribute of an object (a module, a class or a Python module) and its stand-in."""

    owner: object
    name: str
    value: Callable[..., Any]


@dataclass(frozen=True)
class Patch:
    """A work-around for model classes that cannot be exported as they are.

    Args:
        name: kebab-case, as reports show it.
        reason: what stands in the way, in one sentence.
        classes: names of module classes, derived ones included, that need it.
        replace: the stand-ins for one recognized module.
        records: methods whose calls are to be recorded in an eager run on the example inputs.
        replays: answer what the code reads from integers, masks and grids as in the eager run
            (`decisions.py`); the program is then for inputs that lead to the same answers.
        early: the stand-ins hold in that eager run too (for a model that draws lots).
        fallback: apply it only where the export without it does not compute what the module does.
    """

    name: str
    reason: str
    classes: frozenset[str]
    replace: Callable[[Site], Sequence[Replacement]] = lambda site: ()
    records: tuple[str, ...] = ()
    replays: bool = False
    early: bool = False
    fallback: bool = False

    def recognizes(self, module: nn.Module) -> bool:
        """Whether the module is of one of the classes."""
        return any(base.__name__ in self.classes for base in type(module).__mro__)


@dataclass
class Recording:
    """The eager run: what the model returned, what it decided, and the calls that it made."""

    result: Any = None
    replays: bool = False
    decisions: Decisions = field(default_factory=Decisions)
    calls: dict[int, dict[str, list[Call]]] = field(
        default_factory=dict[int, dict[str, list[Call]]]
    )


def record(
    module: nn.Module, patches: Sequence[Patch], run: Callable[[], Any], recording: Recording
) -> None:
    """Run the model eagerly once and note the calls that patches want to know."""
    with ExitStack() as stack:
        for each in module.modules():
            if any(patch.replays and patch.recognizes(each) for patch in patches):
                recording.replays = True
            for patch in patches:
                if patch.early and patch.recognizes(each):
                    for replacement in patch.replace(Site(each, {})):
                        stack.enter_context(replaced(replacement))
            methods = {
                name for patch in patches if patch.recognizes(each) for name in patch.records
            }
            calls = recording.calls[id(each)] = {name: [] for name in methods}
            for name in methods:
                heard = listener(getattr(each, name), calls[name])
                stack.enter_context(replaced(Replacement(each, name, heard)))
        if recording.replays:
            stack.enter_context(recorded(recording.decisions))
        recording.result = run()


@contextmanager
def applied(
    module: nn.Module, patches: Sequence[Patch], recording: Recording
) -> Generator[list[str]]:
    """Hold the stand-ins in place; yield the names of the patches that found something to do."""
    names: list[str] = []
    with ExitStack() as stack:
        for each in module.modules():
            for patch in patches:
                if not patch.recognizes(each):
                    continue
                for replacement in patch.replace(Site(each, recording.calls.get(id(each), {}))):
                    stack.enter_context(replaced(replacement))
                    names.append(patch.name)
        yield list(dict.fromkeys(names))


@contextmanager
def replaced(replacement: Replacement) -> Generator[None]:
    """Set an attribute; afterwards restore it, or remove it where only the class has it."""
    owner, name = replacement.owner, replacement.name
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, replacement.value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@contextmanager
def preserved(module: nn.Module) -> Generator[None]:
    """Undo what a run sets in modules: some keep tensors, which an export leaves without values.

    Hooks that it registers go too: what notes that they are there is gone as well. Buffers that it
    writes to have their values back.
    """
    buffers = [(each, each._version, each.detach().clone()) for each in module.buffers()]
    before = [
        (each, dict(vars(each)), {name: dict(vars(each)[name]) for name in _TABLES})
        for each in module.modules()
    ]
    try:
        yield
    finally:
        for each, attributes, tables in before:
            vars(each).clear()
            vars(each).update(attributes)
            for name, table in tables.items():
                vars(each)[name].clear()
                vars(each)[name].update(table)
        for buffer, version, values in buffers:
            if buffer._version != version:
                buffer.copy_(values)


_TABLES = (
    "_buffers",
    "_forward_hooks",
    "_forward_hooks_always_called",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)
"""Tables of a module that change in place."""


def listener(method: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    """The method, noting each call and its result."""
    signature = inspect.signature(method)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        arguments: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            # A method's own catch-all keywords count as arguments like any other.
            variadic = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            arguments.update(value if variadic else {name: value})
        result = method(*args, **kwargs)
        calls.append(Call(arguments, result))
        return result

    return call


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    return bool(first == second)
