"""Runs SCALE-Sim on GEMMs; executed by the Python of SCALE-Sim's own environment.

See peers/environments.py for what goes in and out. Weight stationary. The tool says which bandwidth
it would need and keeps to none, so its cycles are the array's alone. Half of the scratchpad for
each operand, the accumulator for the results; the tool double buffers all three by itself, and
sends sums out as often as results.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import csv
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scalesim.scale_sim import scalesim

LAYOUT_COLUMNS = 21


def configuration(case: dict[str, Any]) -> str:
    operand = case["scratchpad_bytes"] // 2 // 1024
    layout = "\n".join(
        f"{side}CustomLayout = False\n"
        f"{side}SRAMBankBandwidth = 10\n{side}SRAMBankNum = 10\n{side}SRAMBankPort = 2"
        for side in ("Ifmap", "Filter")
    )
    return f"""[general]
run_name = run
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {case["array"]["rows"]}
ArrayWidth = {case["array"]["columns"]}
IfmapSramSzkB = {operand}
FilterSramSzkB = {operand}
OfmapSramSzkB = {case["accumulator_bytes"] // 1024}
IfmapOffset = 0
FilterOffset = 100000000
OfmapOffset = 200000000
Dataflow = ws
ReadRequestBuffer = 512
WriteRequestBuffer = 512
[layout]
{layout}
[sparsity]
SparsitySupport = false
"""


def evaluate(case: dict[str, Any], gemm: dict[str, Any], folder: Path) -> dict[str, Any]:
    config, topology, layout = (folder / name for name in ("scale.cfg", "gemm.csv", "layout.csv"))
    config.write_text(configuration(case))
    sizes = ", ".join(str(gemm[size]) for size in ("rows", "columns", "depth"))
    topology.write_text(f"Layer, M, N, K,\ngemm, {sizes},\n")
    layout.write_text("Layer,\n" + "gemm, " + "1, " * LAYOUT_COLUMNS + "\n")
    wall, cpu = time.perf_counter(), time.process_time()
    tool = scalesim(
        save_disk_space=True,
        verbose=False,
        config=str(config),
        topology=str(topology),
        layout=str(layout),
        input_type_gemm=True,
    )
    tool.run_scale(top_path=str(folder))

    def row(report: str) -> dict[str, float]:
        with (folder / "run" / report).open() as file:
            first = next(csv.DictReader(file, skipinitialspace=True))
        return {str(key): float(value) for key, value in first.items() if key and value}

    access = row("DETAILED_ACCESS_REPORT.csv")
    return {
        "cycles": row("COMPUTE_REPORT.csv")["Total Cycles"],
        "dram_read_bytes": access["DRAM IFMAP Reads"] + access["DRAM Filter Reads"],
        "dram_write_bytes": access["DRAM OFMAP Writes"],
        "energy_pj": None,
        "mapping": "",
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def main() -> None:
    case, answers = json.load(sys.stdin), sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for gemm in case["gemms"]:
            with tempfile.TemporaryDirectory() as folder:
                answer = evaluate(case, gemm, Path(folder))
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
