"""What `girih inspect` and `girih targets` show, as plain values and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from girih.compiler.recipe_table import RecipeTable
from girih.runtime.energy import Node
from girih.runtime.errors import InputError
from girih.runtime.executable import Executable, HostOperation
from girih.runtime.memory import Memory
from girih.runtime.program import Program
from girih.runtime.report_host import by_share, host_groups, share_text, short_source, summary
from girih.runtime.report_table import bytes_text
from girih.runtime.signature import TensorSpec
from girih.runtime.target import Target


def describe(executable: Executable) -> dict[str, Any]:
    """An executable as plain values, without its bulk."""
    return {
        "recipe": executable.recipe,
        "recipe_table": RecipeTable.of(executable).to_dict(),
        "target": executable.target.model_dump(mode="json"),
        "processor": executable.processor,
        "vmfb_bytes": len(executable.vmfb),
        "dram_bytes": executable.dram_bytes,
        "parameter_bytes": sum(array.nbytes for array in executable.parameters.values()),
        "parameters": {
            name: {"shape": list(array.shape), "dtype": array.dtype.name, "bytes": array.nbytes}
            for name, array in executable.parameters.items()
        },
        "entries": {
            name: {
                "arguments": [asdict(spec) for spec in entry.signature.arguments],
                "results": [asdict(spec) for spec in entry.signature.results],
                "steps": [asdict(step) for step in entry.steps],
                "host_macs_share": sum(each.macs_share for each in entry.host_operations),
                "host_bytes_share": sum(each.bytes_share for each in entry.host_operations),
                "host_operations": [asdict(each) for each in by_share(entry.host_operations)],
            }
            for name, entry in executable.entries.items()
        },
        "kernels": {
            name: {
                "bytes": len(kernel.program),
                "instructions": len(Program.decode(kernel.program).instructions),
                "macs": sum(layer.macs for layer in kernel.layers),
                "layers": [asdict(layer) for layer in kernel.layers],
            }
            for name, kernel in executable.kernels.items()
        },
    }


def disassemble(executable: Executable, kernel: str) -> str:
    """The instructions of a kernel as text; raises `InputError` for an unknown one."""
    if kernel not in executable.kernels:
        known = ", ".join(executable.kernels) or "none"
        raise InputError(f"no kernel {kernel!r}: the program has {known}")
    return Program.decode(executable.kernels[kernel].program).disassemble()


def show(executable: Executable, console: Console) -> None:
    """Print an executable as tables."""
    values = describe(executable)
    target = executable.target
    console.print(
        f"recipe {executable.recipe}, target {target.name} ({target.array.rows}x"
        f"{target.array.columns} array), host code for {executable.processor or 'any processor'}",
        highlight=False,
    )
    console.print(
        f"{len(executable.parameters)} weights, {bytes_text(values['parameter_bytes'])}; "
        f"host code {bytes_text(len(executable.vmfb))}; "
        f"accelerator DRAM {bytes_text(executable.dram_bytes)}",
        highlight=False,
    )
    console.print(RecipeTable.of(executable).table())
    for name, entry in executable.entries.items():
        rows = [("argument", spec) for spec in entry.signature.arguments]
        rows += [("result", spec) for spec in entry.signature.results]
        console.print(
            _table(
                f"entry {name}",
                ("", "name", "shape", "dtype", "stored as", "scale", "state"),
                ((side, *_specification(spec)) for side, spec in rows),
            )
        )
        if entry.host_operations:
            console.print(_host_table(f"on the host in {name}", entry.host_operations))
    for name, kernel in values["kernels"].items():
        console.print(
            _table(
                f"kernel {name}: {kernel['instructions']} instructions, {kernel['macs']:,} MAC",
                ("layer", "operation", "MAC", "bytes"),
                (
                    (layer["name"], layer["operation"], f"{layer['macs']:,}",
                     bytes_text(layer["compulsory_bytes"]))
                    for layer in kernel["layers"]
                ),
            )
        )  # fmt: skip


def show_targets(console: Console) -> None:
    """Print the presets as a table."""
    targets = [Target.load(name) for name in Target.presets()]
    console.print(
        _table(
            "",
            ("name", "array", "MHz", "scratchpad", "accumulator", "DRAM", "description"),
            (
                (
                    target.name,
                    f"{target.array.rows}x{target.array.columns}",
                    f"{target.frequency_hz / 1e6:g}",
                    bytes_text(target.scratchpad_bytes),
                    bytes_text(target.accumulator_bytes),
                    f"{target.dram.bandwidth_bytes_per_second / 1e9:g} GB/s",
                    " ".join(target.description.split()),
                )
                for target in targets
            ),
        )
    )
    nodes, memories = ", ".join(Node.names()), ", ".join(Memory.names())
    console.print(f"technology nodes: {nodes}; memories with pages: {memories}", highlight=False)
    console.print("in any combination: edge@45nm@ddr4-3200", highlight=False)


def _host_table(title: str, operations: Sequence[HostOperation]) -> Table:
    """What stays on the host, by reason, the largest share first."""
    table = Table(title=f"{title}: {summary(operations)}", title_justify="left")
    for head in ("operation", "where", "source", "MACs", "bytes"):
        right = head in ("MACs", "bytes")
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    for group in host_groups(operations):
        table.add_section()
        shares = share_text(group.macs_share), share_text(group.bytes_share)
        table.add_row(f"[bold]{escape(group.reason)}[/bold]", f"{group.count} in all", "", *shares)
        for row in group.rows:
            table.add_row(
                f"  {escape(row.name)}",
                escape(row.where),
                escape(short_source(row.source)),
                share_text(row.macs_share),
                share_text(row.bytes_share),
            )
    return table


def _specification(spec: TensorSpec) -> tuple[str, ...]:
    shape = "x".join(map(str, spec.shape)) or "scalar"
    scale = "" if spec.scale is None else f"{spec.scale:.4g}"
    return spec.name, shape, spec.dtype, spec.stored, scale, spec.state or ""


def _table(title: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(title=title or None, title_justify="left", title_style="bold")
    for head in heads:
        table.add_column(head, justify="right" if head in ("MAC", "bytes", "MHz") else "left")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    return table
