"""What `torch.export` says at length, in one sentence with the user's line and the way out."""

from __future__ import annotations

import inspect
import io
import linecache
import logging
import re
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr

import torch

from girih.passes.advice import way_out
from girih.passes.locations import Frame, frame_text, model_frame

_DATA_DEPENDENT = "data-dependent"
_BRANCH_WORDS = ("if ", "elif ", "while ", "assert ", "return ", "for ")
_SHAPES = "shapes must be known at compile time"

_LOGGERS = (
    "torch.fx.experimental.symbolic_shapes",
    "torch.export",
    "torch._dynamo",
    "torch._export",
)


def explain(error: BaseException, module: torch.nn.Module) -> str:
    """One sentence about an exception that `torch.export` raised for a module.

    It names what could not be traced, the line of the model's own code, and what to write instead.
    """
    frame = error_frame(error)
    name = type(module).__name__
    where = frame_text(frame) or forward_line(module)
    at = f" at {where}" if where else ""
    text = first_line(error)
    code = "" if frame is None else linecache.getline(*frame).strip()
    if _DATA_DEPENDENT in str(error):
        return f"torch.export cannot trace {name}: {_data_dependent(code, text)}{at}: " + (
            _advice_for(code)
        )
    if "sparse" in text.lower():
        return f"torch.export cannot trace {name}: sparse tensors{at}: {way_out('to_sparse')}"
    if "quantized" in text.lower() and "torch.classes" in text:
        return (
            f"torch.export cannot trace {name}: a quantized torch module{at}: "
            f"{way_out('quantized')}"
        )
    if ".numpy()" in text:
        return (
            f"torch.export cannot trace {name}: a conversion to NumPy{at}: compute with torch, "
            "and convert outside of the model"
        )
    return f"torch.export cannot trace {name}{at}: {text}"


def explain_run(error: BaseException, module: torch.nn.Module) -> str:
    """One sentence about an exception that the module itself raised on its example inputs."""
    frame = error_frame(error)
    at = f" at {frame_text(frame)}" if frame else ""
    return f"{type(module).__name__} does not run on its example inputs{at}: {first_line(error)}"


def explain_generation(error: BaseException, module: torch.nn.Module) -> str:
    """One sentence about an exception while a model ran over a prompt with a cache of ours."""
    frame = error_frame(error)
    at = f" at {frame_text(frame)}" if frame else ""
    return (
        f"{type(module).__name__} does not generate with a cache of fixed length{at}: "
        f"{first_line(error)}; compile its forward with girih.compile, which needs no cache"
    )


def error_frame(error: BaseException) -> Frame | None:
    """The innermost frame of the model's own code in a traceback, or in those of its causes."""
    seen: BaseException | None = error
    while seen is not None:
        frames = [
            (entry.filename, entry.lineno or 0)
            for entry in reversed(traceback.extract_tb(seen.__traceback__))
        ]
        frame = model_frame(frames)
        if frame is not None:
            return frame
        seen = seen.__cause__ or seen.__context__
    return None


def forward_line(module: torch.nn.Module) -> str:
    """``file:line`` where a module's forward begins; its innermost code of the user's own."""
    for each in module.modules():
        forward = inspect.unwrap(type(each).forward)
        code = getattr(forward, "__code__", None)
        if code is not None:
            frame = model_frame([(code.co_filename, code.co_firstlineno)])
            if frame is not None:
                return frame_text(frame)
    return ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something; its type where none does."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


@contextmanager
def quiet() -> Generator[None]:
    """Keep torch from printing whole graphs about an error that is explained in a sentence."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            yield
        # What the model itself printed; of a failure, torch's own graph would drown it.
        sys.stderr.write(printed.getvalue())
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _data_dependent(code: str, text: str) -> str:
    if code.startswith(_BRANCH_WORDS) and not code.startswith(("return ", "for ")):
        return f"control flow that depends on data, `{_shortened(code)}`"
    if code:
        return f"a size or a number that depends on data, `{_shortened(code)}`"
    found = re.search(r"expression ([^(]+)", text)
    return f"a decision that depends on data, {found.group(1).strip() if found else text}"


def _advice_for(code: str) -> str:
    if code.startswith("while "):
        return way_out("while_loop")
    if code.startswith("assert "):
        return "check values outside of the model"
    if code.startswith(("if ", "elif ")) or " if " in code:
        return way_out("cond")
    return f"{_SHAPES}, so take it from a shape, or pass it as a Python constant"


def _shortened(code: str) -> str:
    code = code.removesuffix(":")
    return code if len(code) <= 60 else code[:57] + "..."
