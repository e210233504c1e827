"""Runs accelforge on GEMMs and fused attention; executed by the Python of its own environment.

See peers/environments.py for what goes in and out. Weight stationary: the array's rows unroll
depth, its columns unroll output columns, each cell holds one weight. Sums of int32 lie in the
accumulator until they are complete, int8 operands in the scratchpad.

accelforge holds one copy of each tile and overlaps all transfers with all work. Its architecture
language has no second copy, so double buffering is stated as halved memories.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import accelforge
from accelforge import Metrics, Spec
from accelforge.mapper.FFM.main import map_workload_to_arch
from accelforge.model.main import evaluate_mapping

SEPARATOR = "<SEP>"


def memory(
    name: str, size: str, pj_per_byte: float, bytes_per_cycle: str, tensors: str, widths: str = "{}"
) -> str:
    action = f"energy: {pj_per_byte}, throughput: {bytes_per_cycle}, bits_per_action: 8"
    return f"""
  - !Memory
    name: {name}
    size: {size}
    leak_power: 0
    area: 0
    tensors: {tensors}
    bits_per_value: {widths}
    actions: [{{name: read, {action}}}, {{name: write, {action}}}]"""


def architecture(case: dict[str, Any]) -> str:
    """The target in accelforge's terms; sizes in bits, energy in pJ, time in cycles."""
    copies = 2 if case["buffering"] == "double" else 1
    energy = case["energy"]
    bus = str(case["dram_bytes_per_cycle"])
    scratchpad = str(8 * case["scratchpad_bytes"] // copies)
    accumulator = str(8 * case["accumulator_bytes"] // copies)
    # What one product hands to the next may stay on chip, as int8.
    on_chip = "{keep: input | weight, may_keep: Intermediates}"
    return (
        "arch:\n  nodes:"
        + memory("Dram", "inf", energy["dram"], bus, "{keep: ~Intermediates, may_keep: All}")
        + memory("Scratchpad", scratchpad, energy["scratchpad"], "inf", on_chip)
        + memory(
            "Accumulator",
            accumulator,
            energy["accumulator"],
            "inf",
            "{keep: output, no_refetch_from_above: output}",
            "{output: 32}",
        )
        + f"""
  - !Container
    name: Array
    spatial:
    - {{name: rows, fanout: {case["array"]["rows"]}, reuse: output}}
    - {{name: columns, fanout: {case["array"]["columns"]}, reuse: input}}"""
        + memory("Register", "8", 0.0, "inf", "{keep: weight}")
        + f"""
  - !Compute
    name: Mac
    leak_power: 0
    area: 0
    actions: [{{name: compute, energy: {energy["mac"]}, throughput: 1}}]
"""
    )


def workload(gemm: dict[str, Any]) -> str:
    """One product, or the two of attention (one head) with the scores between them."""
    first = """
  - name: first
    tensor_accesses:
    - {name: X, projection: [m, k]}
    - {name: W, projection: [k, n]}
    - {name: Y, projection: [m, n], output: True}
    renames: {input: X, weight: W, output: Y}
"""
    second = """
  - name: second
    tensor_accesses:
    - {name: Y, projection: [m, n]}
    - {name: V, projection: [n, j]}
    - {name: Z, projection: [m, j], output: True}
    renames: {input: Y, weight: V, output: Z}
"""
    attention = gemm["kind"] == "attention"
    sizes = {"m": gemm["rows"], "n": gemm["columns"], "k": gemm["depth"]}
    if attention:
        sizes["j"] = gemm["depth"]
    ranges = "".join(f"    {name}: 0 <= {name} < {size}\n" for name, size in sizes.items())
    return (
        f"workload:\n  iteration_space_shape:\n{ranges}  bits_per_value: {{All: 8}}\n  einsums:"
        + first
        + (second if attention else "")
    )


def loops(mapping: Any) -> str:
    """The loop nest, outermost first: loops with their tile, memories with what they hold."""
    words: list[str] = []
    for node in mapping.nodes:
        kind = type(node).__name__
        if kind == "Storage":
            words.append(f"[{' '.join(map(str, node.tensors))} in {node.component}]")
        elif kind == "Temporal":
            words.append(f"{node.rank_variable}:{node.tile_shape}")
        elif kind == "Spatial":
            words.append(f"{node.rank_variable}:{node.tile_shape} on {node.name}")
        elif hasattr(node, "nodes"):
            words.append(f"({loops(node)})")
    return " ".join(words)


def evaluate(case: dict[str, Any], gemm: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / "case.yaml"
    path.write_text(architecture(case) + workload(gemm))
    wall, cpu = time.perf_counter(), time.process_time()
    spec = Spec.from_yaml(path)
    spec.mapper.metrics = Metrics.ENERGY_DELAY_PRODUCT
    # Tiles that leave a rest: for two products at once that search does not end in minutes.
    imperfect = gemm["kind"] != "attention"
    spec.mapper.explore_imperfect_spatial_loops = imperfect
    spec.mapper.explore_imperfect_temporal_loops = imperfect
    # The detailed evaluation of map_workload_to_arch draws with graphviz: do it here without.
    found = map_workload_to_arch(spec, print_progress=False, eval_in_detail=False)
    mapping = found.data.iloc[0][f"Total{SEPARATOR}mapping"](_for_model=True)
    spec.model.metrics = spec.mapper.info_metrics
    spec.mapping = mapping
    detail = evaluate_mapping(
        spec, flattened_arches=found.flattened_arches, evaluated_specs=found.evaluated_specs
    ).to_dict()

    def total(name: str) -> float:
        return float(detail[f"Total{SEPARATOR}{name}"])

    def dram(action: str) -> float:
        return sum(
            float(value)
            for key, value in detail.items()
            if (parts := key.split(SEPARATOR))[1:3] == ["action", "Dram"] and parts[-1] == action
        )

    return {
        "cycles": total("latency"),
        "dram_read_bytes": dram("read"),
        "dram_write_bytes": dram("write"),
        "energy_pj": total("energy"),
        "mapping": loops(mapping),
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def main() -> None:
    case, answers = json.load(sys.stdin), sys.stdout
    accelforge.set_n_parallel_jobs(1)
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        for gemm in case["gemms"]:
            print(json.dumps(evaluate(case, gemm, Path(folder))), file=answers, flush=True)


if __name__ == "__main__":
    main()
