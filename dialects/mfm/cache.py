"""Key-value caches of a fixed length."""

from collections.abc import Iterator
from typing import Any

from torch_mlir.dialects import ext

from girih.dialects.mfm.base import Array, Operation, element, expect_element, expect_shape, shape


class CacheUpdateOp(Operation, name="cache_update", traits=[ext.Pure]):
    """The cache with some of its rows replaced: ``cache[:, position] = rows``.

    cache (B, L, ...) of any type, position (n) i32 or i64, rows (B, n, ...); result as cache. The
    compiler makes it an update in place where the cache is a state that nothing else reads.
    """

    cache: ext.Operand[Any]
    position: ext.Operand[Any]
    rows: ext.Operand[Any]
    result: ext.Result[Any]

    least_axes = {"cache": 2}

    def check(self) -> Iterator[str]:
        batch, _, *rest = shape(self.cache)
        yield from expect_element("position", self.position, "i32", "i64")
        yield from expect_element("rows", self.rows, element(self.cache))
        yield from expect_element("result", self.result, element(self.cache))
        yield from expect_shape("rows", self.rows, (batch, *shape(self.position), *rest))
        yield from expect_shape("result", self.result, shape(self.cache))

    def reference(self, *inputs: Array) -> Array:
        cache, position, rows = inputs
        length = cache.shape[1]
        if position.size and not (0 <= position.min() and position.max() < length):
            raise IndexError(f"position {position.tolist()} is outside a cache of {length} rows")
        result = cache.copy()
        result[:, position] = rows
        return result
