"""`girih.compress`: the whole search, readable in one place."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch_mlir import ir

from girih.compiler.adaptation.episodes import checked
from girih.compiler.calibration import Calibration, set_calibration
from girih.compiler.compilation import import_entries
from girih.compiler.compression.cost import Simulator
from girih.compiler.compression.measure import Evaluator, Metric, float16_bytes
from girih.compiler.compression.moves import Kind, Move, alone, moves_of, with_moves
from girih.compiler.compression.result import Compression, Tier, by_block, by_tower
from girih.compiler.compression.search import RESOURCES, Budget, Point, Search, amount, front
from girih.compiler.compression.store import Store
from girih.compiler.compression.work import Progress, Workbench
from girih.compiler.context import create_context
from girih.compiler.entries import Entry, Inputs, Module, entries_of
from girih.compiler.episodes import Call, Episode
from girih.compiler.patches import Patch
from girih.compiler.pipeline import float_passes, run_passes
from girih.compiler.recipe import PRESETS, Recipe
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.runtime.errors import CompilationError
from girih.runtime.target import Target

Ranking = Literal["task", "weights", "order"]
BASE = Recipe(name="searched", tables=8)


def compress(
    module: Module | Mapping[str, Entry | tuple[Module, Inputs]],
    example_inputs: Inputs | None = None,
    *,
    episodes: Sequence[Sequence[Call]],
    budget: Mapping[str, float],
    folder: str | Path,
    calibration: Calibration | None = None,
    target: str | Path | Target = "edge",
    base: Recipe = BASE,
    metric: Metric = "agreement",
    pruning: Sequence[Kind] = (),
    share: float = 0.25,
    points: int = 8,
    trials: int = 16,
    ranking: Ranking = "task",
    processes: int = 1,
    patches: Sequence[Patch] = (),
    progress: Progress = lambda title, done, count: None,
) -> Compression:
    """Find which nodes of a model take 4 bits, and what of it may go, within a budget.

    Every part is measured by itself: the model in 4 bits, each tower, each block, each module, and
    each pruning of channels, heads or blocks. Moves are then taken in the order of loss a unit
    saved, and near the budget some are exchanged, each combination measured with the weights that
    its program would have, and timed on the simulator.

    Args:
        module: as for `girih.compile`.
        example_inputs: as for `girih.compile`.
        episodes: what the loss is measured on: calls whose results are compared with float32's.
        budget: one of ``bytes`` (a share of the model's size in float16), ``cycles`` or ``energy``
            (shares of the base recipe's), ``agreement`` (at least) or ``loss`` (at most).
        folder: where measurements and results go; a search that was killed goes on from there.
        calibration: as for `girih.compile`; the episodes where nothing is given.
        target: as for `girih.compile`.
        base: the recipe that moves start from.
        metric: ``agreement`` where results are logits, else ``error``.
        pruning: what may be pruned: ``hidden``, ``heads``, ``blocks``.
        share: of an MLP's channels or an attention's heads that one move takes away.
        points: how many combinations along the front are measured.
        trials: how many exchanges are tried at the budget.
        ranking: what moves are ordered by beside what they save: the loss of the ``task``; the
            error of their ``weights`` alone, or nothing but their ``order``, to compare.
        processes: how many measure at a time.
        patches: as for `girih.compile`.
        progress: called with what is done, how many of it, of how many.

    Raises:
        GirihError: something can not be used, or no recipe is within the budget.
    """
    what, limit = _one_budget(budget)
    entries, target = entries_of(module, example_inputs), Target.load(target)
    folder = Path(folder)
    if not folder.parent.is_dir():
        raise CompilationError(f"{folder}: no folder {folder.parent}")
    known = checked(entries, episodes)
    calls = Counter(call.entry for episode in known for call in episode)
    often = {name: calls[name] / len(known) for name in entries}
    progress("import", 0, 2)
    simulator = Simulator(entries, target, often, patches)
    progress("import", 1, 2)
    context = create_context()
    context.enable_multithreading(False)  # threads do not outlive a fork
    with context, ir.Location.unknown():
        graph, parameters = import_entries(entries, patches, lambda stage: None)
        compilation = Compilation(parameters, target)
        set_calibration(compilation, entries, known if calibration is None else calibration)
        run_passes(graph, float_passes(), compilation)
        progress("calibrate", 0, 1)
        run_passes(graph, [Calibrate(correlations=base.rounding == "compensated")], compilation)
        evaluator = Evaluator(graph, compilation, known, metric)
        moves = moves_of(graph, compilation, pruning, share, target.array.rows)
    if not moves:
        raise CompilationError("the model has no weights that could take fewer bits")
    folder.mkdir(exist_ok=True)
    subject = _digest(graph, compilation, known, metric, target, often)
    store = Store(folder / "measurements.jsonl", subject)
    bench = Workbench(evaluator, simulator, store, processes, progress)

    tiers = _tiers(moves, base, bench)
    losses: list[float] | None = None
    if ranking == "task":
        losses = [tier.score.loss for tier in tiers if tier.level in ("module", "channels")]
    elif ranking == "weights":
        losses = [evaluator.weight_errors(alone(move, base)) for move in moves]
    size = float16_bytes(parameters, sorted(evaluator.names))
    (whole,) = bench.costs([base], "the base")
    if what == "bytes":
        limit *= size
    elif what in RESOURCES:
        limit *= amount(whole, what)
    goal = Budget(what, limit)
    search = Search(base, moves, losses, goal, bench.scores, bench.costs)
    chosen = search.run(points, trials)
    presets = [PRESETS[name] for name in ("w8a8", "w4a8")]
    uniform = [
        Point(recipe, cost, score)
        for recipe, cost, score in zip(
            presets, bench.costs(presets, "presets"), bench.scores(presets, "presets"), strict=True
        )
    ]
    found = Compression(
        resource=goal.resource,
        float16_bytes=size,
        chosen=chosen,
        front=tuple(front(search.points.values(), goal.resource, chosen)),
        uniform=tuple(uniform),
        tiers=tuple(tiers),
    )
    found.save(folder)
    return found


def _tiers(moves: Sequence[Move], base: Recipe, bench: Workbench) -> list[Tier]:
    """What each part of the hierarchy costs by itself, from the whole model to channels."""
    plain = base.model_copy(update={"weights": "float"})
    parts: list[tuple[str, str, Recipe]] = []
    low = [move for move in moves if move.kind == "bits"]
    parts.append(("model", "all of it", with_moves(plain, low)))
    for level, groups in (("tower", by_tower(low)), ("block", by_block(low))):
        parts += [(level, name or "-", with_moves(plain, own)) for name, own in groups.items()]
    for move in moves:
        level = "module" if move.kind == "bits" else "channels"
        parts.append((level, move.label, alone(move, base)))
    scores = bench.scores([recipe for _, _, recipe in parts], "each part by itself")
    return [Tier(level, name, score) for (level, name, _), score in zip(parts, scores, strict=True)]


def _one_budget(budget: Mapping[str, float]) -> tuple[Any, float]:
    known = (*RESOURCES, "agreement", "loss")
    if len(budget) != 1 or next(iter(budget)) not in known:
        raise CompilationError(
            f"the budget is {', '.join(budget) or 'empty'}, expected one of {', '.join(known)}"
        )
    what, limit = next(iter(budget.items()))
    if not limit > 0:
        raise CompilationError(f"a budget of {what} must be above 0, found {limit}")
    return what, float(limit)


def _digest(
    graph: ir.Module,
    compilation: Compilation,
    episodes: Sequence[Episode],
    metric: Metric,
    target: Target,
    often: Mapping[str, float],
) -> str:
    """Tells one model, its data and its target from all others."""
    known = hashlib.sha256(f"{metric} {target.to_yaml()} {sorted(often.items())}".encode())
    known.update(graph.operation.get_asm(enable_debug_info=False).encode())
    arrays = [compilation.parameters[name] for name in sorted(compilation.parameters)]
    arrays += [compilation.statistics[key] for key in sorted(compilation.statistics)]
    arrays += [
        tensor.detach().numpy()
        for episode in episodes
        for call in episode
        for tensor in call.inputs
    ]
    for array in arrays:
        known.update(np.ascontiguousarray(array).view(np.uint8).data)
    return known.hexdigest()
