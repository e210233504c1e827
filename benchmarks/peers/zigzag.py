"""Runs zigzag-dse on GEMMs; executed by the Python of zigzag's own environment.

See peers/environments.py for what goes in and out. Weight stationary: the array's rows unroll
depth, its columns unroll output columns, each cell holds one weight and the next one. Sums of int32
lie in the accumulator, int8 operands in the scratchpad. The bus takes whole bits a cycle: 25.6
bytes become 205 bits.

`factors`: the loops are cut into at most so many factors, whose orders are all tried.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from zigzag.api import get_hardware_performance_zigzag
from zigzag.mapping.data_movement import DataDirection, DataMoveAttr


def port(name: str, kind: str, bits: int, *allocation: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "bandwidth_min": 8,
        "bandwidth_max": bits,
        "allocation": list(allocation),
    }


def architecture(case: dict[str, Any]) -> dict[str, Any]:
    """The target in zigzag's terms; costs in pJ per access of a port's full width."""
    rows, columns = case["array"]["rows"], case["array"]["columns"]
    energy = case["energy"]
    double = case["buffering"] == "double"
    bus = round(8 * case["dram_bytes_per_cycle"])
    width = 8 * max(rows, columns) * 4

    def memory(size: int, pj_per_byte: float, bits: int, **more: Any) -> dict[str, Any]:
        cost = pj_per_byte * bits / 8
        return {"size": 8 * size, "r_cost": cost, "w_cost": cost, "area": 0.0, "latency": 1, **more}

    return {
        "name": case["name"],
        "memories": {
            "weight_register": memory(
                2,
                0.0,
                8,
                operands=["I2"],
                ports=[
                    port("r_port_1", "read", 8, "I2, tl"),
                    port("w_port_1", "write", 8, "I2, fh"),
                ],
                served_dimensions=[],
                force_double_buffering=True,
            ),
            "accumulator": memory(
                case["accumulator_bytes"],
                energy["accumulator"],
                32 * columns,
                operands=["O"],
                ports=[
                    port("r_port_1", "read", 32 * columns, "O, tl"),
                    port("r_port_2", "read", 32 * columns, "O, th"),
                    port("w_port_1", "write", 32 * columns, "O, fl"),
                    port("w_port_2", "write", 32 * columns, "O, fh"),
                ],
                served_dimensions=["D1", "D2"],
                force_double_buffering=double,
            ),
            "scratchpad": memory(
                case["scratchpad_bytes"],
                energy["scratchpad"],
                width,
                operands=["I1", "I2"],
                ports=[
                    port("r_port_1", "read", width, "I1, tl"),
                    port("r_port_2", "read", width, "I2, tl"),
                    port("w_port_1", "write", width, "I1, fh", "I2, fh"),
                ],
                served_dimensions=["D1", "D2"],
                force_double_buffering=double,
            ),
            "dram": memory(
                1 << 32,
                energy["dram"],
                bus,
                operands=["I1", "I2", "O"],
                ports=[
                    port(
                        "rw_port_1",
                        "read_write",
                        bus,
                        *(f"I{n}, {way}" for n in (1, 2) for way in ("fh", "tl")),
                        *(f"O, {way}" for way in ("fh", "tl", "fl", "th")),
                    )
                ],
                served_dimensions=["D1", "D2"],
            ),
        },
        "operational_array": {
            "input_precision": [8, 8],
            "unit_energy": energy["mac"],
            "unit_area": 0.0,
            "dimensions": ["D1", "D2"],
            "sizes": [columns, rows],
            "systolic_dimensions": ["D1", "D2"],
        },
    }


def workload(gemm: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": 0,
            "name": "gemm",
            "operator_type": "Gemm",
            "equation": "O[d][k]+=I[d][c]*W[c][k]",
            "dimension_relations": [],
            "loop_dims": ["C", "D", "K"],
            "loop_sizes": [gemm["depth"], gemm["rows"], gemm["columns"]],
            "operand_precision": {"W": 8, "I": 8, "O": 32, "O_final": 8},
            "operand_source": {"I": 0, "W": 0},
        }
    ]


def mapping(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": "default",
            "spatial_mapping": {
                "D1": [f"K, {case['array']['columns']}"],
                "D2": [f"C, {case['array']['rows']}"],
            },
            "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
        }
    ]


def loops(temporal: dict[Any, Any]) -> str:
    """Per operand the loops of each memory, from the array outwards."""
    words: list[str] = []
    for operand, levels in temporal.items():
        memories = (" ".join(f"{dim}{size}" for dim, size in level) for level in levels)
        words.append(f"{operand}: {' | '.join(memories)}")
    return "; ".join(words)


def moved(cost: Any) -> tuple[int, int]:
    """(read, written) bytes of DRAM: the elements that cross its port, at their width there."""
    read = written = 0
    for levels in cost.mapping.unit_mem_data_movement.values():
        movement = levels[-1]
        counts = movement.get_attribute(DataMoveAttr.DATA_ELEM_MOVE_COUNT)
        widths = movement.get_attribute(DataMoveAttr.DATA_PRECISION)
        read += counts.get(DataDirection.RD_OUT_TO_LOW) * widths.get(DataDirection.RD_OUT_TO_LOW)
        written += counts.get(DataDirection.WR_IN_BY_LOW) * widths.get(DataDirection.WR_IN_BY_LOW)
    return read // 8, written // 8


def evaluate(case: dict[str, Any], gemm: dict[str, Any], folder: Path) -> dict[str, Any]:
    files = {
        "accelerator": architecture(case),
        "mapping": mapping(case),
    }
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "workload.yaml").write_text(yaml.safe_dump(workload(gemm), sort_keys=False))
    wall, cpu = time.perf_counter(), time.process_time()
    energy, cycles, found = get_hardware_performance_zigzag(
        str(folder / "workload.yaml"),
        str(folder / "accelerator.yaml"),
        str(folder / "mapping.yaml"),
        opt="EDP",
        lpf_limit=case["factors"],
        dump_folder=str(folder / "dump"),
        loma_show_progress_bar=False,
    )
    cost = found[0][1][0][0]
    read, written = moved(cost)
    return {
        "cycles": cycles,
        "dram_read_bytes": read,
        "dram_write_bytes": written,
        "energy_pj": energy,
        "mapping": loops(cost.temporal_mapping.mapping_dic_origin),
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def main() -> None:
    case, answers = json.load(sys.stdin), sys.stdout
    logging.disable(logging.INFO)
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        for gemm in case["gemms"]:
            print(json.dumps(evaluate(case, gemm, Path(folder))), file=answers, flush=True)


if __name__ == "__main__":
    main()
