"""The `girih` command. Each subcommand is one call of the Python API and a way to show its result.

Exit codes: 0; 1 for what girih refuses (`GirihError`, one sentence); 2 for a wrong command line.
Progress goes to standard error. Modules that take long to import are imported where needed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from girih.runtime.errors import GirihError, InputError

if TYPE_CHECKING:
    from girih.compiler.program import CompiledProgram, EntryPoint
    from girih.runtime.report import Report

app = typer.Typer(
    help="Compile multimodal models from PyTorch to IREE and to a simulated accelerator.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

MODEL_HELP = (
    "file.py:function or package.module:function that returns (module, example_inputs) or a "
    "mapping of entries; a .pt2 file; whisper-tiny.en or whisper-base."
)
Artifact = Annotated[Path, typer.Argument(help="A compiled program, from girih compile.")]
EntryName = Annotated[str | None, typer.Option("--entry", help="Which entry point, of several.")]
Inputs = Annotated[
    list[Path] | None,
    typer.Option("--input", help=".npz or .npy file with arguments; may be repeated."),
]
Random = Annotated[bool, typer.Option("--random", help="Make up the arguments that are missing.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Results as .npz.")]


@app.command("compile")
def compile_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The artifact to write.")],
    target: Annotated[
        str, typer.Option(help="Preset or YAML file, as girih targets lists.")
    ] = "edge",
    recipe: Annotated[str, typer.Option(help="w8a8, w4a8, float or YAML file.")] = "w8a8",
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help=".npz of examples along the first axis; for whisper, audio clips."),
    ] = None,
    dump_ir: Annotated[Path | None, typer.Option(help="Folder for the IR after each pass.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a model that needs the host for an operation.")
    ] = False,
    mapping: Annotated[
        Path | None, typer.Option(help="Tiles to use, as `girih inspect --mapping` prints them.")
    ] = None,
) -> None:
    """Compile a model and write the artifact."""
    _check_folder(output)
    with _progress("start") as progress:
        from girih.compiler.cli_models import compile_named

        program = compile_named(
            model, target, recipe, calibration or [], dump_ir, progress, strict, mapping
        )
        progress(f"write {output}")
        program.save(output)
    console = Console(stderr=True)
    console.print(program.recipe_table.table())
    names = ", ".join(program)
    console.print(f"wrote {output}: {names}", highlight=False, soft_wrap=True)


@app.command("adapt")
def adapt_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The artifact to write.")],
    data: Annotated[
        list[str],
        typer.Option(
            help="What to learn from; may be repeated. For whisper, audio clips; else .npz of "
            "examples along the first axis, or file.py:function that returns episodes."
        ),
    ],
    folder: Annotated[
        Path, typer.Option(help="For the checkpoint: the same command goes on from there.")
    ],
    target: Annotated[str, typer.Option(help="Preset or YAML file.")] = "edge",
    recipe: Annotated[str, typer.Option(help="w8a8, w4a8 or YAML file.")] = "w8a8",
    steps: Annotated[int, typer.Option(help="Changes of the weights.")] = 100,
    float_steps: Annotated[int, typer.Option(help="Changes before those, in float.")] = 0,
    batch: Annotated[int, typer.Option(help="Examples a step.")] = 4,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-4,
    rank: Annotated[int, typer.Option(help="Of the change of each weight.")] = 16,
    match: Annotated[
        list[str] | None,
        typer.Option(help="Modules to train, with * and ?; may be repeated. All by default."),
    ] = None,
    tied: Annotated[
        bool, typer.Option("--tied", help="Train a table that is a layer's weight too.")
    ] = False,
    loss: Annotated[str, typer.Option(help="divergence (of logits) or error.")] = "divergence",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a compiled model's weights to answer as the original does; write the artifact."""
    _check_folder(output)
    with _progress("start") as progress:
        from girih.compiler.cli_adapt import adapt_named

        def show(stage: str) -> None:
            progress(stage)
            if stage.startswith("step "):
                typer.echo(stage, err=True)

        program = adapt_named(
            model,
            data,
            show,
            folder=folder,
            target=target,
            recipe=recipe,
            steps=steps,
            float_steps=float_steps,
            batch=batch,
            rate=rate,
            rank=rank,
            match=tuple(match or ["*"]),
            tied=tied,
            loss=loss,
            seed=seed,
        )
        progress(f"write {output}")
        program.save(output)
    names = ", ".join(program)
    Console(stderr=True).print(f"wrote {output}: {names}", highlight=False, soft_wrap=True)


@app.command("estimate")
def estimate_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    target: Annotated[str, typer.Option(help="Preset or YAML file.")] = "edge",
    recipe: Annotated[str, typer.Option(help="w8a8, w4a8, float or YAML file.")] = "w8a8",
    cache_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of context: the function returns (model, prompt) of a model that "
            "generates text, and its tower, prefill and decode step are estimated.",
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="The reports by entry, as .json.")] = None,
    layers: Annotated[int, typer.Option(min=0, help="Rows to show, 0 for all.")] = 20,
) -> None:
    """Show what a model costs, from its shapes alone: weights may be on the meta device."""
    if report is not None and report.suffix != ".json":
        raise typer.BadParameter(f"{report} must end in .json", param_hint="--report")
    _check_folder(report)
    with _progress("start") as progress:
        from girih.compiler.cli_models import estimate_named

        found = estimate_named(model, target, recipe, cache_length, progress)
    if report is not None:
        values = {name: each.to_dict() for name, each in found.items()}
        _write_text(report, json.dumps(values, indent=1, allow_nan=False))
    for name, each in found.items():
        Console().print(each.table(limit=layers or None, title=f"{model}: {name}"))


@app.command("compress")
def compress_command(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="What the loss is measured on: .npz of examples along the first axis, "
            "file.py:function that returns episodes; for whisper, audio clips. May be repeated."
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="bytes=SHARE of float16, cycles= or energy=SHARE of 8 bits, agreement=LEAST, "
            "loss=MOST."
        ),
    ] = "bytes=0.4",
    folder: Annotated[
        Path,
        typer.Option(
            help="For recipe.yaml, tables and measurements; a search that was cut off goes on."
        ),
    ] = Path("compression"),
    target: Annotated[str, typer.Option(help="Preset or YAML file.")] = "edge",
    metric: Annotated[
        str, typer.Option(help="agreement, of logits; or error, of other results.")
    ] = "agreement",
    prune: Annotated[
        list[str] | None, typer.Option(help="hidden, heads or blocks; may be repeated.")
    ] = None,
    points: Annotated[int, typer.Option(min=2, help="Points of the front to measure.")] = 8,
    trials: Annotated[int, typer.Option(min=0, help="Exchanges to try at the budget.")] = 16,
    processes: Annotated[int, typer.Option(min=1, help="How many measure at a time.")] = 1,
) -> None:
    """Find which parts of a model take fewer bits or go, by what it costs the task."""
    _check_folder(folder / "recipe.yaml" if folder.is_dir() else folder)
    from girih.compiler.cli_compress import compress_named

    compress_named(
        model,
        data or [],
        budget,
        folder,
        target=target,
        metric=metric,
        prune=prune or [],
        points=points,
        trials=trials,
        processes=processes,
    )


@app.command("run")
def run_command(
    artifact: Artifact,
    entry: EntryName = None,
    inputs: Inputs = None,
    random: Random = False,
    device: Annotated[str, typer.Option(help="iree or npu.")] = "iree",
    integers: Annotated[bool, typer.Option(help="Results as stored, not as floats.")] = False,
    output: Output = None,
) -> None:
    """Run an entry point; write its results or describe them."""
    from girih.compiler.cli_values import gather, write_arrays
    from girih.runtime.execution import check_device

    check_device(device)
    _check_folder(output)
    with _progress("load") as progress:
        point = _entry_point(_load(artifact), entry)
        signature = point.entry.signature
        arguments = gather(signature, inputs or [], random)
        progress(f"run {point.name} on {device}")
        outputs = point(*arguments, device=device, integers=integers)
    if output is not None:
        write_arrays(output, signature, outputs)
        return
    for spec, value in zip(signature.results, outputs, strict=True):
        shape = "x".join(map(str, value.shape)) or "scalar"
        extremes = f" from {value.min():.6g} to {value.max():.6g}" if value.size else ""
        typer.echo(f"{spec.name}: {shape} {value.dtype}{extremes}")


@app.command("simulate")
def simulate_command(
    artifact: Artifact,
    entry: EntryName = None,
    inputs: Inputs = None,
    random: Random = False,
    timing_only: Annotated[
        bool, typer.Option("--timing-only", help="The same cycles, without data.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="The report as .html or .json.")] = None,
    timeline: Annotated[Path | None, typer.Option(help="Chrome trace for ui.perfetto.dev.")] = None,
    layers: Annotated[int, typer.Option(min=0, help="Rows to show, 0 for all.")] = 20,
    output: Output = None,
) -> None:
    """Run an entry point on the simulated accelerator; show what it costs."""
    from girih.compiler.cli_values import gather, write_arrays

    if report is not None and report.suffix not in (".html", ".json"):
        raise typer.BadParameter(f"{report} must end in .html or .json", param_hint="--report")
    if timing_only and (inputs or random or output):
        raise typer.BadParameter("goes without inputs and results", param_hint="--timing-only")
    for path in (report, timeline, output):
        _check_folder(path)
    with _progress("load") as progress:
        point = _entry_point(_load(artifact), entry)
        signature = point.entry.signature
        if timing_only:
            progress(f"time {point.name}")
            result = point.cost()
        else:
            arguments = gather(signature, inputs or [], random)
            progress(f"simulate {point.name}")
            result = point.simulate(*arguments)
            if output is not None:
                write_arrays(output, signature, result.outputs)
        if report is not None:
            progress(f"write {report}")
            _write_text(report, _report_text(result.report, report.suffix, point.name))
        if timeline is not None:
            from girih.runtime.report_timeline import timeline_json

            progress(f"write {timeline}")
            # Only a run without data keeps its timeline; the cycles are the same.
            timed = result if timing_only else point.cost()
            _write_text(timeline, timeline_json(timed.report))
    Console().print(result.report.table(limit=layers or None, title=f"{artifact}: {point.name}"))


@app.command("inspect")
def inspect_command(
    artifact: Artifact,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    disassemble: Annotated[str | None, typer.Option(help="Print this kernel's code.")] = None,
    mapping: Annotated[
        bool, typer.Option("--mapping", help="Print the tiles of every region, for `compile`.")
    ] = False,
) -> None:
    """Show what an artifact holds: entries, layers, kernels, what stays on the host and why."""
    from girih.compiler import cli_inspect
    from girih.compiler.artifact import read

    executable = read(artifact)
    if disassemble is not None:
        typer.echo(cli_inspect.disassemble(executable, disassemble), nl=False)
    elif mapping:
        typer.echo(executable.metadata.get("mapping", ""), nl=False)
    elif as_json:
        typer.echo(json.dumps(cli_inspect.describe(executable), indent=1))
    else:
        cli_inspect.show(executable, Console())


@app.command("targets")
def targets_command(
    name: Annotated[str | None, typer.Argument(help="Preset or YAML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the accelerators that come with girih, or show one as YAML."""
    from girih.compiler.cli_inspect import show_targets
    from girih.runtime.target import Target

    if name is not None:
        target = Target.load(name)
        text = json.dumps(target.model_dump(mode="json"), indent=1) if as_json else target.to_yaml()
        typer.echo(text.rstrip())
    elif as_json:
        presets = [Target.load(each).model_dump(mode="json") for each in Target.presets()]
        typer.echo(json.dumps(presets, indent=1))
    else:
        show_targets(Console())


@app.command("models")
def models_command(
    name: Annotated[str | None, typer.Argument(help="One family, cell by cell.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the families of models that are tested, and what each supports."""
    from girih.compiler.cli_families import load_families, show_families

    families = load_families(name)
    if as_json:
        typer.echo(json.dumps(families, indent=1))
    else:
        show_families(families, Console())


def main() -> None:
    """The command `girih`."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run the command on these words; return its exit code. No exception leaves it."""
    try:
        app(list(words), prog_name="girih")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except GirihError as error:
        message = " ".join(str(error).split())
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except Exception as error:
        if os.environ.get("GIRIH_DEBUG"):
            raise
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"{cause} (a defect of girih: please report it, with what GIRIH_DEBUG=1 shows)"
    else:
        return 0
    print(f"girih: {message}", file=sys.stderr)
    return 1


@contextmanager
def _progress(first: str) -> Generator[Callable[[str], None]]:
    """A line on standard error that names the current stage, gone at the end."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    # In a file or a pipe it would leave empty lines.
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(first, total=None)
        yield lambda stage: bar.update(task, description=stage)


def _load(artifact: Path) -> CompiledProgram:
    from girih.compiler.artifact import load

    return load(artifact)


def _entry_point(program: CompiledProgram, entry: str | None) -> EntryPoint:
    names = list(program)
    if entry is None and len(names) != 1:
        raise InputError(f"choose an entry point: --entry {' or '.join(names)}")
    return program[names[0] if entry is None else entry]


def _check_folder(path: Path | None) -> None:
    """Refuse a place that can not be written to before the work rather than after it."""
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}")
    if path is not None and path.is_dir():
        raise InputError(f"{path}: is a folder, expected the name of a file")


def _report_text(report: Report, suffix: str, title: str) -> str:
    if suffix == ".json":
        return report.to_json()
    from girih.runtime.report_html import html

    return html(report, title)


def _write_text(path: Path, text: str) -> None:
    from girih.compiler.files import replacing

    with replacing(path) as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()
