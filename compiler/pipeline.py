"""The whole pipeline, readable in one place: which passes run, in which order, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from torch_mlir import ir

from girih.compiler.iree import byte_tile
from girih.compiler.recipe import Recipe
from girih.passes.allocate import Allocate
from girih.passes.arrange_dram import ArrangeDram
from girih.passes.assume_ranges import AssumeRanges
from girih.passes.base import Compilation, Pass
from girih.passes.boolean_masks import BooleanMasks
from girih.passes.calibrate import Calibrate
from girih.passes.check_target import CheckTarget
from girih.passes.convert_mfm_to_linalg import ConvertMfmToLinalg
from girih.passes.convert_torch_to_mfm import ConvertTorchToMfm
from girih.passes.fold_attention_scale import FoldAttentionScale
from girih.passes.fold_constants import FoldConstants
from girih.passes.lower_torch_fallback import LowerTorchFallback
from girih.passes.peel import Peel
from girih.passes.prune_heads import PruneHeads
from girih.passes.prune_hidden import PruneHidden
from girih.passes.quantize import Quantize
from girih.passes.recognize_activations import RecognizeActivations
from girih.passes.recognize_attention import RecognizeAttention
from girih.passes.recognize_rms_norm import RecognizeRmsNorm
from girih.passes.remove_blocks import RemoveBlocks
from girih.passes.simplify import Simplify
from girih.passes.sparsify import Sparsify
from girih.passes.split_biased_attention import SplitBiasedAttention
from girih.passes.split_hidden import SplitHidden
from girih.passes.synchronize import Synchronize
from girih.passes.tile import Tile
from girih.passes.widen_parameters import WidenParameters
from girih.runtime.errors import CompilationError


def float_passes() -> list[Pass]:
    """From torch to the graph in `mfm`, in float."""
    return [
        ConvertTorchToMfm(),  # a closed set of operations, or torch with a reason
        FoldConstants(),  # position tables and the like become weights before anyone counts them
        RecognizeActivations(),  # one operation each, which transposes may then move past
        RecognizeRmsNorm(),  # what models write out has an integer form only as a whole
        RecognizeAttention(),
        Simplify(),  # transposes meet and cancel once nothing constant stands between them
        FoldAttentionScale(),  # a factor on the queries costs nothing inside the score's rescale
    ]


def graph_passes(recipe: Recipe, values: bool = True) -> list[Pass]:
    """From torch to the quantized graph: what every backend starts from.

    Without `values`, weights are hollow, and the graph is good for its cost alone.
    """
    return [*float_passes(), *shaping_passes(recipe, values), *integer_passes(recipe)]


def shaping_passes(recipe: Recipe, values: bool = True) -> list[Pass]:
    """What a recipe does to the graph while its numbers are floats, and a last look at those."""
    passes: list[Pass] = []
    if recipe.pruning:
        passes += [Calibrate()] if values else []  # what matters least is seen on examples
        passes += pruning_passes(recipe, values)
    if recipe.quantized:
        passes += [
            BooleanMasks(),  # integer scores are hidden or not: nothing is added to them
            SplitBiasedAttention(),  # unless it is a bias, which products of their own allow
            SplitHidden(),  # groups, so that an MLP of many rows finds room between DRAM and array
            CheckTarget(),  # refuses in a second what tile would refuse after calibration
            # the last look at float values
            Calibrate(correlations=recipe.compensates) if values else AssumeRanges(),
        ]
    return passes


def integer_passes(recipe: Recipe, notes: bool = False) -> list[Pass]:
    """From here on a program is integers, unless the recipe leaves all of it float."""
    if not recipe.quantized:
        return []
    return [
        Quantize(
            smoothing=recipe.smoothing,
            weights=recipe.weights,
            rules=recipe.rules,
            compensates=recipe.compensates,
            tables=recipe.tables,
            scaling=recipe.scaling,
            ranges=recipe.ranges,
            percentile=recipe.percentile,
            activations=recipe.activations,
            notes=notes,
        )
    ]


def pruning_passes(recipe: Recipe, values: bool = True) -> list[Pass]:
    """Blocks before heads, channels, weights: what goes as a whole needs no choice of its parts."""
    blocks = [RemoveBlocks(each.blocks, each.match) for each in recipe.pruning if each.blocks]
    heads = [PruneHeads(each.heads, each.match) for each in recipe.pruning if each.heads]
    hidden = [
        PruneHidden(each.hidden, each.match, each.multiple)
        for each in recipe.pruning
        if each.hidden
    ]
    sparse = [Sparsify(each.match) for each in recipe.pruning if each.sparsity]
    smaller = [*blocks, *heads, *hidden]
    # single weights are weighed by what is left of the model
    again = [Calibrate()] if values and smaller and sparse else []
    return [*smaller, *again, *sparse]


def host_passes() -> list[Pass]:
    """From the graph to what IREE compiles."""
    return [
        WidenParameters(),  # 16-bit weights stay so in the archive and in memory
        ConvertMfmToLinalg(*byte_tile()),  # int8 products in the tile that this CPU multiplies
        LowerTorchFallback(),  # after ours: its passes want to see builtin tensors at the seams
    ]


def accelerator_passes() -> list[Pass]:
    """From accelerator segments to scheduled machine code."""
    return [
        Tile(),  # explicit buffers and transfers; the only pass that chooses sizes
        Peel(),  # the first iteration waits for the layer before; the others must not
        Allocate(),  # addresses, before waits: reuse of memory makes dependences of its own
        ArrangeDram(),  # other addresses, where the target's DRAM has pages
        Synchronize(),
    ]


@dataclass
class Dump:
    """Writes the module after every pass to numbered files, weights elided."""

    folder: Path | None = None
    count: int = field(default=0)

    @classmethod
    def into(cls, folder: str | Path | None) -> Dump:
        """The dump into a folder; without one, none."""
        return cls(None if folder is None else Path(folder))

    def __call__(self, module: ir.Module, name: str) -> None:
        """Write the next file, where a folder was given."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = module.operation.get_asm(
            large_elements_limit=16, large_resource_limit=16, enable_debug_info=False
        )
        (self.folder / f"{self.count:02d}-{name}.mlir").write_text(text)
        self.count += 1


def run_passes(
    module: ir.Module,
    passes: Sequence[Pass],
    compilation: Compilation,
    dump: Dump | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Run passes in order, verifying after each; turn MLIR's errors into `CompilationError`."""
    for each in passes:
        progress(each.name)
        try:
            each.run(module, compilation)
            module.operation.verify()
        except ir.MLIRError as error:
            raise CompilationError(f"{each.name}: {_explain(error)}") from error
        if dump is not None:
            dump(module, each.name)


def copy_module(module: ir.Module) -> ir.Module:
    """An independent copy of a module, locations included."""
    return ir.Module.parse(to_bytecode(module), module.context)


def to_bytecode(module: ir.Module) -> bytes:
    """The module as MLIR bytecode."""
    buffer = BytesIO()
    module.operation.write_bytecode(buffer)
    return buffer.getvalue()


def _explain(error: ir.MLIRError) -> str:
    # MLIR's diagnostics read ``error: location: message note: ...``. Of a location that is a chain
    # of calls through packages, the layer's name says enough.
    text = re.sub(r"\s+", " ", str(error)).partition("error: ")[2] or str(error)
    first = re.split(r" (?:note|error): ", text)[0]
    match = re.match(r"""("[^"]*")?.*?\)?: (?=['a-z])(.*)""", first)
    if match is None:
        return first
    name, message = match.groups()
    return f"{name}: {message}" if name else message
