"""Peak memory and time of compiling a Llama-shaped decoder from a float16 checkpoint.

    python benchmarks/scale.py [--recipe float w8a8] [--layers 22] [--hidden 2048] ...

The checkpoint has random weights and is written once, to build/scale. Each recipe is compiled,
saved and run for a decode step in processes of their own. Peak memory is the largest resident set
(`getrusage`), pages of the mapped checkpoint included; that of iree-compile is given apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llama import Size, build, decode_entry
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

import girih

FOLDER = Path(__file__).resolve().parent.parent / "build" / "scale"


def memory() -> tuple[float, float]:
    """Largest resident set of this process and of its largest child so far, in GB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, children = (resource.getrusage(kind).ru_maxrss * 1024 / 1e9 for kind in kinds)
    return own, children


def write(size: Size, path: Path) -> None:
    model = build(size, torch.float16)
    save_file({name: each.contiguous() for name, each in model.state_dict().items()}, path)


def compile_recipe(size: Size, path: Path, recipe: str, length: int) -> dict[str, Any]:
    start = last = time.perf_counter()
    stages: list[tuple[str, float, float]] = []

    def progress(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        stages.append((stage, now - last, memory()[0]))
        last = now

    with girih.empty_weights():
        model = LlamaForCausalLM(size.config).eval()
    girih.load_checkpoint(model, path)
    warnings.simplefilter("ignore")
    entry = decode_entry(model, length)
    base = memory()[0]
    program = girih.compile({"decode": entry}, recipe=recipe, progress=progress)
    progress("end")
    own, child = memory()
    artifact = path.with_suffix(f".{recipe}.girih")
    program.save(artifact)
    progress("save")
    for index in range(len(stages) - 1):
        name, (_, spent, peak) = stages[index][0], stages[index + 1]
        print(f"  {name:24} {spent:7.1f} s   peak so far {peak:6.2f} GB", file=sys.stderr)
    return {
        "seconds": stages[-1][1] + time.perf_counter() - start - (time.perf_counter() - last),
        "base": base,
        "compile": own,
        "iree-compile": child,
        "saved": memory()[0],
        "artifact": artifact.stat().st_size / 1e9,
    }


def run_artifact(path: Path, recipe: str) -> dict[str, Any]:
    start = time.perf_counter()
    program = girih.load(path.with_suffix(f".{recipe}.girih"))
    step = program.session()["decode"]
    (logits,) = step(np.zeros((1, 1), np.int64), np.zeros(1, np.int64))
    loaded = time.perf_counter() - start
    assert np.isfinite(logits).all()
    assert logits.any()
    times: list[float] = []
    for position in range(1, 6):
        token = np.array([[int(logits.argmax())]])
        start = time.perf_counter()
        (logits,) = step(token, np.array([position]))
        times.append(time.perf_counter() - start)
    return {"load": loaded, "step": min(times), "run": memory()[0]}


def in_process(work: str, arguments: list[str]) -> dict[str, Any]:
    """Run one of the functions above in a process of its own, whose memory is its own."""
    command = [sys.executable, __file__, "--work", work, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.decode().strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for field in fields(Size):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    parser.add_argument("--recipe", nargs="+", default=["float", "w8a8"])
    parser.add_argument("--length", type=int, default=256, help="positions of the cache")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = Size(**{field.name: getattr(options, field.name) for field in fields(Size)})
    path = FOLDER / ("-".join(str(value) for value in asdict(size).values()) + ".safetensors")
    if options.work == "write":
        write(size, path)
        print("{}")
    elif options.work == "compile":
        print(json.dumps(compile_recipe(size, path, options.recipe[0], options.length)))
    elif options.work == "run":
        print(json.dumps(run_artifact(path, options.recipe[0])))
    else:
        compare(path, options.recipe)


def compare(path: Path, recipes: list[str]) -> None:
    given = sys.argv[1:]
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        in_process("write", given)
    stored = path.stat().st_size / 1e9
    print(f"checkpoint {path.name}: {stored:.2f} GB in float16")
    for recipe in recipes:
        own = [*given, "--recipe", recipe]
        compiled, ran = in_process("compile", own), in_process("run", own)
        print(f"{recipe}: compiled and saved in {compiled['seconds']:.0f} s")
        print(f"  before compiling       {compiled['base']:6.2f} GB")
        peak = max(compiled["compile"], compiled["saved"])
        print(f"  compiling and saving   {peak:6.2f} GB, {peak / stored:.2f} times the weights")
        print(f"  iree-compile           {compiled['iree-compile']:6.2f} GB")
        print(f"  artifact               {compiled['artifact']:6.2f} GB on disk")
        print(
            f"  running                {ran['run']:6.2f} GB, first step {ran['load']:.1f} s after "
            f"loading began, then {ran['step'] * 1000:.0f} ms a step"
        )


if __name__ == "__main__":
    main()
