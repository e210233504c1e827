"""Which of the regions that a chain of layers could run as is cheapest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch_mlir import ir

from girih.dialects.mfm.base import element
from girih.passes.tiling import rows
from girih.passes.tiling.chain import Chain, Linear, NormOp, chain_from
from girih.passes.tiling.choice import choose
from girih.passes.tiling.layer import LayerTiler, rows_and_columns
from girih.passes.tiling.normed_product import NormedProductTiler
from girih.passes.tiling.product import ProductTiler
from girih.passes.tiling.row_block import RowBlockTiler
from girih.passes.tiling.search import Candidate, Found, price

Region = RowBlockTiler | NormedProductTiler

_NEVER = float("inf")


@dataclass(frozen=True)
class _Norm:
    """A norm by itself."""

    rows: int
    columns: int
    output: str


@dataclass(frozen=True)
class _Unsearched:
    """The tiles of a layer that chooses them by itself."""


def cheapest_region(tiler: LayerTiler, op: ir.OpView) -> Region | None:
    """The region that best begins with an operation; None where that is better by itself.

    Compared are all ways to cut [product ->] norm -> products [-> products] into regions, by the
    sum of their prices, each measured by itself.
    """
    chain = chain_from(op)
    if chain is None:
        return None
    return _Cut(tiler, chain).best()


class _Cut:
    def __init__(self, tiler: LayerTiler, chain: Chain) -> None:
        self.tiler, self.chain = tiler, chain

    def best(self) -> Region | None:
        chain = self.chain
        own = replace(chain, before=None)
        ways = self._ways(own)
        if chain.before is None:
            return min(ways, key=lambda way: way[0])[1]
        apart = self._alone(chain.before) + min(cost for cost, _ in ways)
        fused = [each for each in self._ways(chain) if each[1] is not None]
        cost, region = min(fused, key=lambda way: way[0], default=(_NEVER, None))
        return region if cost < apart else None

    def _ways(self, chain: Chain) -> list[tuple[float, Region | None]]:
        """Prices of the ways to run a chain, and the region that each begins with."""
        short = replace(chain, afters=())
        end = sum((self._alone(each) for each in chain.afters), 0.0)
        found: list[tuple[float, Region | None]] = []
        if chain.before is None:
            apart = self._norm(chain.norm) + sum(self._alone(each) for each in chain.linears)
            found.append((apart + end, None))
            normed = NormedProductTiler(self.tiler, short)
            found.append((self._price(normed.find()) + end, normed))
        block = RowBlockTiler(self.tiler, short)
        found.append((self._price(block.find()) + end, block))
        if chain.afters:
            whole = RowBlockTiler(self.tiler, chain)
            found.append((self._price(whole.find()), whole))
        return found

    def _alone(self, linear: Linear) -> float:
        alone = ProductTiler(self.tiler, linear.op, linear.gelu, linear.join)
        return self._price(alone.found)

    def _norm(self, norm: NormOp) -> float:
        count, columns = rows_and_columns(norm.result)
        found = choose(
            self.tiler,
            _Norm(count, columns, element(norm.result)),
            _Unsearched,
            lambda: [Candidate(_Unsearched(), 0, 0, 0)],
            lambda sketch, _: rows.norm(sketch, norm),
        )
        return self._price(found)

    def _price(self, found: Found[Any] | None) -> float:
        if found is None:
            return _NEVER
        return price(self.tiler.target, found.measured.cycles, found.measured.dram_bytes)
