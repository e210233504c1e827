"""What names a model on the command line: Python functions, exported programs, built-in ones."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from girih.compiler.cli_values import read_arrays
from girih.compiler.compilation import compile
from girih.compiler.estimation import estimate
from girih.compiler.generator import estimate_generator
from girih.compiler.program import CompiledProgram
from girih.compiler.recipe import Recipe
from girih.runtime.errors import CompilationError, GirihError
from girih.runtime.report import Report
from girih.runtime.target import Target
from girih.runtime.transcription import CHECKPOINTS, Checkpoint

WHISPERS = {f"whisper-{name}": checkpoint for name, checkpoint in CHECKPOINTS.items()}

Examples = dict[str, list[tuple[NDArray[Any], ...]]]


def compile_named(
    model: str,
    target: str,
    recipe: str,
    calibration: Sequence[Path],
    dump_ir: Path | None,
    progress: Callable[[str], None],
    strict: bool = False,
    mapping: Path | None = None,
) -> CompiledProgram:
    """Compile the model that a word of the command line names.

    Raises `GirihError`: no such model, or one that can not be compiled.
    """
    # Both are cheap to refuse, and a model may take a minute to build.
    checked_target, checked_recipe = Target.load(target), Recipe.load(recipe)
    checkpoint = whisper_named(model)
    if checkpoint is not None:
        from girih.compiler.models.speech import compile_whisper

        return compile_whisper(
            checked_target,
            checked_recipe,
            calibration_audio=calibration,
            checkpoint=checkpoint,
            dump_ir=dump_ir,
            progress=progress,
            strict=strict,
            mapping=mapping,
        )
    progress(f"load {model}")
    module, inputs = load_model(model)
    names = list(cast(Mapping[str, Any], module)) if isinstance(module, Mapping) else ["main"]
    examples = read_calibration(calibration, names) if calibration else None
    return compile(
        module,
        inputs,
        target=checked_target,
        recipe=checked_recipe,
        calibration=examples,
        dump_ir=dump_ir,
        progress=progress,
        strict=strict,
        mapping=mapping,
    )


def estimate_named(
    model: str,
    target: str,
    recipe: str,
    cache_length: int | None,
    progress: Callable[[str], None],
) -> dict[str, Report]:
    """What each entry point of a model costs.

    With a cache length the function of the model returns (model, prompt), and the entry points are
    those of a generator. Raises `GirihError`: no such model, or one that can not be used.
    """
    checked_target, checked_recipe = Target.load(target), Recipe.load(recipe)
    checkpoint = whisper_named(model)
    if checkpoint is not None:
        from girih.compiler.models.speech import whisper_entries
        from girih.compiler.models.whisper import pretrained

        module, inputs = whisper_entries(pretrained(checkpoint)), None
    else:
        progress(f"load {model}")
        module, inputs = load_model(model)
    if cache_length is None:
        entries = module if isinstance(module, Mapping) else {"main": (module, inputs)}
        return estimate(
            cast(Mapping[str, Any], entries),
            target=checked_target,
            recipe=checked_recipe,
            progress=progress,
        )
    if not isinstance(inputs, Mapping):
        raise CompilationError(
            f"--cache-length is for a function that returns (model, prompt), the prompt a mapping "
            f"with input_ids or input_features; {model} does not"
        )
    return estimate_generator(
        cast(torch.nn.Module, module),
        cast(Mapping[str, Any], inputs),
        cache_length=cache_length,
        target=checked_target,
        recipe=checked_recipe,
        progress=progress,
    )


def whisper_named(model: str) -> Checkpoint | None:
    """The pretrained Whisper of a name such as ``whisper-tiny.en``, or None for another model."""
    return WHISPERS.get(model)


def load_model(model: str) -> tuple[Any, Any]:
    """(module, example inputs), or (entries, None): what `girih.compile` takes first.

    `model` is a .pt2 file, ``file.py:function`` or ``package.module:function``. Raises
    `CompilationError` where it names nothing, and where the function fails.
    """
    if model.endswith(".pt2"):
        return _load_exported(Path(model))
    if not names_function(model):
        raise CompilationError(
            f"no model {model!r}: expected file.py:function, package.module:function, "
            f"a .pt2 file, {' or '.join(WHISPERS)}"
        )
    result = call_named(model)
    if isinstance(result, Mapping):
        return cast(Mapping[str, Any], result), None
    if isinstance(result, tuple) and len(cast(tuple[Any, ...], result)) == 2:
        return cast(tuple[Any, Any], result)
    raise CompilationError(
        f"{model} returned a {type(result).__name__}, expected (module, example_inputs) or a "
        "mapping of entries"
    )


def names_function(word: str) -> bool:
    """Whether a word has the form ``file.py:function`` or ``package.module:function``."""
    place, colon, name = word.rpartition(":")
    return bool(place and colon and name)


def call_named(word: str) -> Any:
    """What the function returns that a word names.

    Raises `CompilationError` where it names nothing, and where the function fails.
    """
    place, _, name = word.rpartition(":")
    module = _import(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise CompilationError(f"{place} has no function {name!r}")
    try:
        return function()
    except GirihError:
        raise
    except Exception as error:
        if os.environ.get("GIRIH_DEBUG"):
            raise
        raise CompilationError(f"{word} failed: {_describe(error)}") from error


def read_calibration(
    paths: Sequence[Path], entries: Sequence[str], purpose: str = "calibration"
) -> Examples:
    """Calibration inputs by entry, from .npz files; `purpose` is for messages.

    The arrays of an entry are its arguments in order, each with the examples along a new first
    axis. With several entries a name is ``ENTRY/anything``.
    """
    examples: Examples = {}
    for path in paths:
        columns: dict[str, list[NDArray[Any]]] = {}
        for name, array in read_arrays(path).items():
            entry = name.partition("/")[0] if len(entries) > 1 else entries[0]
            columns.setdefault(entry, []).append(np.asarray(array))
        for entry, arrays in columns.items():
            counts = {len(array) if array.ndim else 0 for array in arrays}
            if entry not in entries:
                raise CompilationError(
                    f"{purpose} {path}: no entry point {entry!r}, expected names such as "
                    f"{entries[0]}/0"
                )
            if len(counts) != 1 or 0 in counts:
                raise CompilationError(
                    f"{purpose} {path}: arrays of {entry!r} hold {sorted(counts)} examples, "
                    "expected one number above 0: the first axis counts them"
                )
            examples.setdefault(entry, []).extend(zip(*arrays, strict=True))
    return examples


def _load_exported(path: Path) -> tuple[Any, Any]:
    if not path.is_file():
        raise CompilationError(f"model {path}: no such file")
    try:
        program = torch.export.load(path)
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise CompilationError(f"model {path}: not an exported program: {_describe(error)}") from (
            error
        )
    if program.example_inputs is None:
        raise CompilationError(f"model {path}: holds no example inputs")
    arguments, keywords = program.example_inputs
    if keywords:
        raise CompilationError(
            f"model {path}: takes keywords {', '.join(keywords)}; export without"
        )
    return program, tuple(arguments)


def _import(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
            return importlib.import_module(place)
        path = Path(place).resolve()
        if not path.is_file():
            raise CompilationError(f"model {place}: no such file")
        specification = importlib.util.spec_from_file_location(path.stem, path)
        if specification is None or specification.loader is None:
            raise CompilationError(f"model {place}: not a Python file")
        sys.path.insert(0, str(path.parent))  # as `python FILE` does: its neighbours are there
        module = importlib.util.module_from_spec(specification)
        sys.modules[path.stem] = module
        specification.loader.exec_module(module)
    except GirihError:
        raise
    except Exception as error:
        if os.environ.get("GIRIH_DEBUG"):
            raise
        raise CompilationError(f"model {place}: {_describe(error)}") from error
    return module


def _describe(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
