"""The result of a search as one HTML file: the front as a plot, and its tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from girih.compiler.compression.search import Point, Resource, amount

if TYPE_CHECKING:
    from girih.compiler.compression.result import Compression

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2rem auto; padding: 0 1rem;
  color: #22272e; background: #fbfaf7; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; margin-bottom: 2rem; }
td, th { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #dcdcd6; }
td:first-child, th:first-child { text-align: left; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.chosen { font-weight: bold; }
"""
_WIDTH, _HEIGHT = 900, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 20, 50
_TITLES: dict[Resource, str] = {
    "bytes": "bytes of parameters",
    "cycles": "cycles an episode",
    "energy": "energy an episode, J",
}


def html(found: Compression) -> str:
    """The page."""
    rows = [
        _row(point, found.float16_bytes, point == found.chosen, point in found.uniform)
        for point in [*found.uniform, *found.front]
    ]
    head = "<tr>" + "".join(
        f"<th>{name}</th>"
        for name in ("recipe", "bytes", "of float16", "cycles", "mJ", "loss", "agreement")
    )
    levels: dict[str, None] = dict.fromkeys(tier.level for tier in found.tiers)
    tiers = "".join(_tier_table(found, level) for level in levels)
    return (
        "<!doctype html><meta charset='utf-8'><title>girih compress</title>"
        f"<style>{_STYLE}</style><h1>What compression costs the task</h1>"
        f"{plot(found)}<table>{head}{''.join(rows)}</table>"
        f"<h2>By itself, in 4 bits or pruned</h2>{tiers}"
    )


def plot(found: Compression) -> str:
    """Loss over the resource: the front as a line, presets as squares, the chosen one filled."""
    points = [*found.front, *found.uniform]
    xs = [amount(point.cost, found.resource) for point in points]
    ys = [_height(point) for point in points]
    low, high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    bottom, top = math.floor(min(ys)), max(math.ceil(max(ys)), math.floor(min(ys)) + 1)

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (top - value) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(power):.1f}" y2="{y(power):.1f}" '
        f'stroke="#dcdcd6"/><text x="{_LEFT - 8}" y="{y(power) + 4:.1f}" text-anchor="end">'
        f"10<tspan dy='-5' font-size='9'>{power}</tspan></text>"
        for power in range(bottom, top + 1)
    ]
    for value in (low, (low + high) / 2, high):
        parts.append(
            f'<text x="{x(value):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">'
            f"{value:,.4g}</text>"
        )
    line = _path([(x(amount(p.cost, found.resource)), y(_height(p))) for p in found.front])
    parts.append(f'<path d="{line}" fill="none" stroke="#2f9e6e" stroke-width="2"/>')
    for point in points:
        left, up = x(amount(point.cost, found.resource)), y(_height(point))
        title = f"<title>{escape(point.recipe.name)}: loss {point.score.loss:.5f}</title>"
        fill = "#2f9e6e" if point == found.chosen else "#fbfaf7"
        if point in found.uniform:
            parts.append(
                f'<rect x="{left - 5:.1f}" y="{up - 5:.1f}" width="10" height="10" '
                f'fill="#e09f3e">{title}</rect><text x="{left + 9:.1f}" y="{up + 4:.1f}">'
                f"{escape(point.recipe.name)}</text>"
            )
        else:
            parts.append(
                f'<circle cx="{left:.1f}" cy="{up:.1f}" r="5" fill="{fill}" '
                f'stroke="#2f9e6e" stroke-width="2">{title}</circle>'
            )
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"{_TITLES[found.resource]}</text>"
        f'<text x="16" y="{_HEIGHT / 2}" transform="rotate(-90 16 {_HEIGHT / 2})" '
        'text-anchor="middle">loss</text>'
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'


def _height(point: Point) -> float:
    return math.log10(max(point.score.loss, 1e-9))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(
        f"{'M' if number == 0 else 'L'}{x:.1f},{y:.1f}" for number, (x, y) in enumerate(points)
    )


def _row(point: Point, float16_bytes: int, is_chosen: bool, is_preset: bool) -> str:
    agreement = point.score.agreement
    name = point.recipe.name if is_preset else f"{len(point.recipe.rules)} rules"
    cells = (
        escape(name) + (", chosen" if is_chosen else ""),
        f"{point.cost.bytes:,}",
        f"{point.cost.bytes / float16_bytes:.1%}",
        f"{point.cost.cycles:,.0f}",
        f"{point.cost.energy_joules * 1e3:.3f}",
        f"{point.score.loss:.5f}",
        "-" if agreement is None else f"{agreement:.2%}",
    )
    style = " class='chosen'" if is_chosen else ""
    return f"<tr{style}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _tier_table(found: Compression, level: str) -> str:
    own = sorted((tier for tier in found.tiers if tier.level == level), key=lambda t: -t.score.loss)
    rows = "".join(
        f"<tr><td>{escape(tier.name)}</td><td>{tier.score.loss:.5f}</td><td>"
        f"{'-' if tier.score.agreement is None else f'{tier.score.agreement:.2%}'}</td></tr>"
        for tier in own
    )
    head = "<tr><th>part</th><th>loss</th><th>agreement</th></tr>"
    return f"<h3>{level}</h3><table>{head}{rows}</table>"
