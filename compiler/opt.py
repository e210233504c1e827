"""`girih-opt`: reads a module as text, runs passes in the order given, prints the result."""

from __future__ import annotations

import dataclasses
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.files import replacing
from girih.compiler.pipeline import run_passes
from girih.compiler.weights import read_safetensors
from girih.dialects.mfm import ParameterOp
from girih.dialects.mfm.base import numpy_dtype, shape
from girih.passes.base import Compilation, Pass
from girih.passes.registry import PASSES
from girih.runtime.errors import GirihError
from girih.runtime.target import Target

USAGE = """usage: girih-opt FILE [--PASS[=OPTION=VALUE,...]]... [options]

Reads MLIR text in girih's dialects ('-': standard input), runs passes in the order given, prints
the result with weights elided.

options:
  --parameters FILE    weights, a safetensors file; others are made up, the same ones each time
  --target TARGET      preset or YAML file of the accelerator (default: edge)
  --split-input-file   treat parts between lines '// -----' as modules of their own
  -o FILE              write there instead of to standard output
  --help               print this
"""
_SEPARATOR = re.compile(r"^// -----.*\n?", re.MULTILINE)
_VALUED = ("--parameters", "--target", "-o")


class UsageError(Exception):
    """A command line that makes no sense; one sentence."""


@dataclass
class Arguments:
    """A parsed command line."""

    file: str = ""
    passes: list[Pass] = field(default_factory=list[Pass])
    parameters: str | None = None
    target: str = "edge"
    output: str | None = None
    split: bool = False


def main() -> None:
    """The command; exits with 0, 1 for a module or a pass that fails, 2 for wrong usage."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run the command on these arguments; return its exit code."""
    if not words or "--help" in words or "-h" in words:
        print(USAGE + "\npasses:\n" + "\n".join(_pass_lines()))
        return 0 if words else 2
    try:
        arguments = parse_arguments(words)
        text, failures = optimize(arguments, _read(arguments.file))
        for failure in failures:
            print(f"error: {failure}", file=sys.stderr)
        if failures and not arguments.split:
            return 1
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            with replacing(arguments.output) as file:
                file.write(text.encode())
    except UsageError as error:
        print(f"girih-opt: {error}", file=sys.stderr)
        return 2
    except GirihError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 1 if failures else 0


def parse_arguments(words: Sequence[str]) -> Arguments:
    """The command line as data; raises `UsageError`. The order of passes is their order there."""
    result = Arguments()
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if name in _VALUED:
            given = value if equals else next(remaining, None)
            if given is None:
                raise UsageError(f"{name} needs a value")
            setattr(result, {"-o": "output"}.get(name, name.lstrip("-")), given)
        elif word == "--split-input-file":
            result.split = True
        elif word.startswith("-") and word != "-":
            result.passes.append(parse_pass(name.lstrip("-"), value))
        elif result.file:
            raise UsageError(f"expected one file, found {result.file!r} and {word!r}")
        else:
            result.file = word
    if not result.file:
        raise UsageError("expected a file, or '-' for standard input")
    return result


def parse_pass(name: str, options: str) -> Pass:
    """A pass from its name and ``option=value,...``, typed as its fields are."""
    if name not in PASSES:
        raise UsageError(f"no pass or option --{name}; --help lists them")
    kind = PASSES[name]
    types = get_type_hints(kind)
    known = _options(kind)
    values: dict[str, Any] = {}
    for part in filter(None, re.split(r"[,\s]+", options)):
        option, equals, value = part.partition("=")
        option = option.replace("-", "_")
        if option not in known or not equals:
            listed = ", ".join(known) or "none"
            raise UsageError(f"--{name} has no option {part!r}: expected OPTION=VALUE of {listed}")
        # Of a choice between numbers, text is none.
        given = int(value) if value.isdigit() else value
        try:
            values[option] = TypeAdapter(types[option]).validate_python(given)
        except ValidationError as error:
            expected = error.errors()[0]["msg"]
            raise UsageError(f"--{name}: {option}={value}: {expected.lower()}") from error
    return kind(**values)


def optimize(arguments: Arguments, text: str) -> tuple[str, list[GirihError]]:
    """Run the passes on each module of a text: the results, and what the other modules failed of.

    Raises `GirihError` for a target or a file of weights that can not be used.
    """
    weights: dict[str, NDArray[Any]] = {}
    if arguments.parameters is not None:
        weights = read_safetensors(arguments.parameters)
    target = Target.load(arguments.target)
    where = "<stdin>" if arguments.file == "-" else arguments.file
    results: list[str] = []
    failures: list[GirihError] = []
    for part in _split(text) if arguments.split else [text]:
        with create_context(), ir.Location.unknown():
            try:
                module = _parse(part, where)
                compilation = Compilation(_parameters(module, weights), target)
                run_passes(module, arguments.passes, compilation)
            except GirihError as error:
                failures.append(error)
            else:
                results.append(
                    module.operation.get_asm(large_elements_limit=16, large_resource_limit=16)
                )
    return "\n// -----\n\n".join(results), failures


def synthesize(
    name: str, extents: tuple[int, ...], dtype: np.dtype[Any], *, rescales: bool = False
) -> NDArray[Any]:
    """A weight made up for its name, shape and dtype: the same one in every run.

    Floats are normal with deviation 0.1, integers small. `scalar.f32.0.5` is the number in its
    name, as the conversion from torch names constants. Where it `rescales`, the last two rows
    are multipliers and shifts, valid ones, that scale down by about 2^9.
    """
    if name.startswith("scalar.") and not extents:
        return np.asarray(float(name.split(".", 2)[2])).astype(dtype)
    generator = np.random.default_rng(zlib.crc32(f"{name}{extents}{dtype}".encode()))
    if dtype.kind == "f":
        return (0.1 * generator.standard_normal(extents)).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, extents).astype(dtype)
    values = generator.integers(-8, 9, extents).astype(dtype)
    if rescales:
        values[-2] = generator.integers(2**30, 2**31, extents[1])
        values[-1] = generator.integers(38, 41, extents[1])
    return values


def _rescales(view: ParameterOp) -> bool:
    """Whether a weight is (3, N) bias, multiplier, shift or the (2, N) of an integer GELU.

    The (2, N) of an integer layer norm are gamma and beta: plain small integers.
    """
    extents = shape(view.result)
    if numpy_dtype(view.result) != np.int32 or len(extents) != 2:
        return False
    readers = {use.owner.name for use in view.result.uses}
    return extents[0] == 3 or (extents[0] == 2 and "mfm.integer_gelu" in readers)


def _parameters(module: ir.Module, weights: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """All weights that the module names; those that no file gave are made up."""
    found = dict(weights)

    def visit(op: ir.Operation) -> ir.WalkResult:
        view = op.opview
        if isinstance(view, ParameterOp) and view.parameter.value not in found:
            name = view.parameter.value
            found[name] = synthesize(
                name, shape(view.result), numpy_dtype(view.result), rescales=_rescales(view)
            )
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return found


def _parse(text: str, where: str) -> ir.Module:
    try:
        return ir.Module.parse(text)
    except ir.MLIRError as error:
        lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
        message = "; ".join(line.removeprefix("error: ") for line in lines) or str(error)
        raise GirihError(message.replace('"-":', f"{where}:")) from error


def _split(text: str) -> Iterator[str]:
    """Modules between separators, each after as many empty lines as keep its line numbers."""
    line, start = 0, 0
    ends = [(match.start(), match.end()) for match in _SEPARATOR.finditer(text)]
    for end, following in [*ends, (len(text), len(text))]:
        yield "\n" * line + text[start:end]
        line += text.count("\n", start, following)
        start = following


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GirihError(f"{file}: not UTF-8 text") from error


def _options(kind: type[Pass]) -> dict[str, Any]:
    """Options of a pass with their defaults."""
    if not dataclasses.is_dataclass(kind):
        return {}
    return {each.name: each.default for each in dataclasses.fields(kind)}


def _pass_lines() -> Iterator[str]:
    for name, kind in PASSES.items():
        summary = (kind.__doc__ or "").strip().splitlines()[0]
        options = ",".join(f"{key}={value}" for key, value in _options(kind).items())
        yield f"  --{name}{'=' if options else ''}{options}\n        {summary}"


if __name__ == "__main__":
    main()
