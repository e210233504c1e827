"""Time of compiling 2, 8 and 32 layers of a Llama-shaped decoder: what does a layer cost?

    python benchmarks/layers.py [--layers 2 8 32] [--recipe float w8a8] [--hidden 256]

Prints a table and draws build/layers/layers.svg: seconds over layers, which is a straight line
where a layer costs the same whatever the number of the others.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from llama import Size, build, decode_entry

import girih

FOLDER = Path(__file__).resolve().parent.parent / "build" / "layers"
WIDTH, HEIGHT, MARGIN = 480, 320, 48
COLORS = ("#2a6f97", "#c1121f")


def seconds(layers: int, hidden: int, recipe: str) -> float:
    """Time of one compilation of the decode step."""
    size = Size(layers, hidden, heads=8, key_heads=2, intermediate=2 * hidden, vocabulary=512)
    entry = decode_entry(build(size, torch.float32), 64)
    start = time.perf_counter()
    girih.compile({"decode": entry}, recipe=recipe)
    return time.perf_counter() - start


def plot(layers: Sequence[int], times: dict[str, list[float]]) -> str:
    """The measurements as an SVG of their own."""
    longest = max(max(each) for each in times.values())

    def at(count: float, spent: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 2 * MARGIN) * count / max(layers)
        return x, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * spent / longest

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">layers</text>',
        f'<text x="{MARGIN}" y="24">seconds to compile</text>',
    ]
    left, bottom = at(0, 0)
    right, top = at(max(layers), longest)
    lines.append(f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#888"/>')
    for color, (recipe, spent) in zip(COLORS, times.items(), strict=False):
        points = [at(count, each) for count, each in zip(layers, spent, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for (x, y), each in zip(points, spent, strict=True):
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
            lines.append(f'<text x="{x - 8:.1f}" y="{y - 8:.1f}">{each:.1f}</text>')
        x, y = points[-1]
        lines.append(f'<text x="{x + 6:.1f}" y="{y:.1f}" fill="{color}">{recipe}</text>')
    for count in layers:
        x, y = at(count, 0)
        lines.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{count}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--recipe", nargs="+", default=["float", "w8a8"])
    parser.add_argument("--hidden", type=int, default=256)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    layers: list[int] = sorted(options.layers)
    seconds(1, options.hidden, "float")  # what is imported and made once
    times = {
        recipe: [seconds(count, options.hidden, recipe) for count in layers]
        for recipe in options.recipe
    }
    print(f"{'recipe':8}{'layers':>8}{'seconds':>10}{'per added layer':>18}")
    for recipe, spent in times.items():
        before: tuple[int, float] | None = None
        for count, each in zip(layers, spent, strict=True):
            added = "" if before is None else f"{(each - before[1]) / (count - before[0]):.3f}"
            print(f"{recipe:8}{count:8}{each:10.1f}{added:>18}")
            before = count, each
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "layers.svg"
    path.write_text(plot(layers, times))
    print(f"drawn in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
