"""What stays on the host, grouped by reason, the largest share first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from girih.runtime.executable import HostOperation

SEAMS = ("mfm.quantize", "mfm.dequantize", "mfm.reshape")
"""What joins host and accelerator and is no work of its own: a fallback brings them along."""


@dataclass(frozen=True)
class HostRow:
    """Operations of one kind on one line of the model: the same layer, repeated."""

    name: str
    source: str
    locations: tuple[str, ...]
    macs: int
    bytes: int
    macs_share: float
    bytes_share: float

    @property
    def where(self) -> str:
        """The first module, and how many more there are."""
        more = len(self.locations) - 1
        return self.locations[0] + (f" and {more} more" if more else "")


@dataclass(frozen=True)
class HostGroup:
    """All that stays on the host for one reason."""

    reason: str
    rows: tuple[HostRow, ...]

    @property
    def count(self) -> int:
        """Number of operations."""
        return sum(len(row.locations) for row in self.rows)

    @property
    def macs_share(self) -> float:
        """Share of the entry's multiply-accumulates, 0 to 1."""
        return sum(row.macs_share for row in self.rows)

    @property
    def bytes_share(self) -> float:
        """Share of the bytes that the entry's operations read and write, 0 to 1."""
        return sum(row.bytes_share for row in self.rows)


def host_groups(operations: Sequence[HostOperation]) -> list[HostGroup]:
    """Operations by reason, and within a reason by kind and line; each by share, MACs first."""
    reasons: dict[str, dict[tuple[str, str], list[HostOperation]]] = {}
    for operation in operations:
        rows = reasons.setdefault(operation.reason, {})
        rows.setdefault((operation.name, operation.source), []).append(operation)
    groups = [
        HostGroup(reason, tuple(sorted(map(_row, rows.values()), key=_weight, reverse=True)))
        for reason, rows in reasons.items()
    ]
    return sorted(groups, key=_weight, reverse=True)


def by_share(operations: Sequence[HostOperation]) -> list[HostOperation]:
    """The operations in the order of `host_groups`: by MACs, then by bytes."""
    return sorted(operations, key=_weight, reverse=True)


def falls_back(operation: HostOperation, quantized: bool) -> bool:
    """Whether an operation is on the host against the recipe's wish.

    A quantized program belongs on the accelerator, all but the seams. A float one is on the host by
    request: there, only what has no form of ours counts.
    """
    if quantized:
        return operation.name not in SEAMS
    return not operation.name.startswith("mfm.")


def summary(operations: Sequence[HostOperation]) -> str:
    """One line: how many operations stay on the host, and their shares."""
    macs = sum(operation.macs_share for operation in operations)
    moved = sum(operation.bytes_share for operation in operations)
    return (
        f"{len(operations)} operations, {share_text(macs)} of the MACs and "
        f"{share_text(moved)} of the bytes"
    )


def share_text(share: float) -> str:
    """A share in percent; what is there but small does not read as nothing."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share:.1%}"


def short_source(source: str) -> str:
    """A source line as tables show it: without the folder that packages are installed in."""
    return source.rpartition("/site-packages/")[2]


def _row(operations: list[HostOperation]) -> HostRow:
    first = operations[0]
    return HostRow(
        name=first.name,
        source=first.source,
        locations=tuple(operation.location for operation in operations),
        macs=sum(operation.macs for operation in operations),
        bytes=sum(operation.bytes for operation in operations),
        macs_share=sum(operation.macs_share for operation in operations),
        bytes_share=sum(operation.bytes_share for operation in operations),
    )


def _weight(each: HostOperation | HostRow | HostGroup) -> tuple[float, float]:
    return each.macs_share, each.bytes_share
