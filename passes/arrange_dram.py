"""Gives tensors in DRAM the pages and banks in which transfers find open rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir

from girih.dialects import npu
from girih.passes.allocate import ALIGNMENT, dram_bytes, dram_tensors, lifetimes, set_address
from girih.passes.base import Compilation
from girih.passes.pages.banks import Conflicts, activates
from girih.passes.pages.trace import Integers, Trace, trace
from girih.runtime.errors import CompilationError
from girih.runtime.memory import Pages


@dataclass(frozen=True)
class ArrangeDram:
    """Place tensors in DRAM again so that fewer pages are opened.

    A tensor of a page or more begins at a page, a smaller one lies within one; tensors whose
    transfers take turns get first banks that keep them out of each other's way. Of this
    placement, the same without chosen banks, and that of `allocate`, the one is taken that opens
    the fewest pages when all transfers are gone through, refresh apart: so it never opens more than
    `allocate`'s. Memory is used again as there. Nothing happens for a target without pages. Runs
    between `allocate` and `synchronize`.
    """

    name: ClassVar[str] = "arrange-dram"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Set the address of every `npu.dram`."""
        if compilation.target is None:
            raise CompilationError("arrange-dram needs a target")
        dram = compilation.target.dram
        if dram.pages is None:
            return
        programs = [op for op in module.body.operations if isinstance(op, npu.ProgramOp)]
        tensors = _Tensors(programs)
        traces = [trace(program, tensors.numbers) for program in programs]
        present = np.array([each.address for each in tensors.all], np.int64)
        best, fewest = present, _opened(traces, present, dram.pages)
        for banks in (_banks(traces, tensors, dram.pages), {}):
            bases = tensors.place(dram.pages, banks)
            if int((bases + tensors.sizes).max(initial=0)) > dram.capacity_bytes:
                continue
            opened = _opened(traces, bases, dram.pages)
            if opened < fewest:
                best, fewest = bases, opened
        for op, number in tensors.declarations:
            set_address(op, int(best[number]))


@dataclass
class _Tensor:
    size: int
    address: int
    program: int | None  # of its own; None where programs share it
    life: tuple[int, int]

    def meets(self, other: _Tensor) -> bool:
        """Whether both hold bytes at the same time."""
        if self.program is None or other.program is None:
            return True
        together = self.life[0] <= other.life[1] and other.life[0] <= self.life[1]
        return self.program == other.program and together


class _Tensors:
    """The tensors of all programs, those that they share counted once."""

    def __init__(self, programs: list[npu.ProgramOp]) -> None:
        self.all: list[_Tensor] = []
        self.numbers: dict[ir.Value, int] = {}
        self.declarations: list[tuple[npu.DramOp, int]] = []
        shared: dict[tuple[str, str], int] = {}
        for index, program in enumerate(programs):
            for op, life in zip(dram_tensors(program), lifetimes(program), strict=True):
                if op.address.value < 0:
                    raise CompilationError("arrange-dram needs addresses: run allocate before it")
                key = op.role.value, op.tensor.value
                is_shared = key[0] in ("parameter", "state")
                number = shared.get(key, len(self.all)) if is_shared else len(self.all)
                if number == len(self.all):
                    owner = None if is_shared else index
                    self.all.append(_Tensor(dram_bytes(op), op.address.value, owner, life))
                if is_shared:
                    shared[key] = number
                self.numbers[op.buffer] = number
                self.declarations.append((op, number))
        self.sizes = np.array([each.size for each in self.all], np.int64)

    def place(self, pages: Pages, banks: dict[int, int]) -> Integers:
        """Addresses, first fit: what programs share first, then each program's own."""
        bases = np.zeros(len(self.all), np.int64)
        common = [n for n, each in enumerate(self.all) if each.program is None]
        own = [n for n, each in enumerate(self.all) if each.program is not None]
        placed: list[int] = []
        for number in common + own:
            tensor = self.all[number]
            alive = [(int(bases[n]), self.all[n].size) for n in placed if self.all[n].meets(tensor)]
            fit = _rule(pages, tensor.size, banks.get(number))
            bases[number] = _first_fit(sorted(alive), tensor.size, fit)
            placed.append(number)
        return bases


def _opened(traces: list[Trace], bases: Integers, pages: Pages) -> int:
    """Pages that all programs open, one after the other."""
    shift = pages.page_bytes.bit_length() - 1
    visits = [each.pages(bases, shift)[1] for each in traces]
    return sum(activates(page, pages.banks) for page in visits)


def _banks(traces: list[Trace], tensors: _Tensors, pages: Pages) -> dict[int, int]:
    """A first bank for each tensor that others could get into the way of."""
    shift = pages.page_bytes.bit_length() - 1
    conflicts = Conflicts(pages.banks)
    for each in traces:
        tensor, page = each.pages(np.zeros(len(tensors.all), np.int64), shift)
        conflicts.add(tensor.tolist(), page.tolist())
    return conflicts.choose()


def _rule(pages: Pages, size: int, bank: int | None) -> Callable[[int], int]:
    """The lowest address from a given one on at which a tensor may begin."""
    page_bytes, banks = pages.page_bytes, pages.banks

    def fit(address: int) -> int:
        address = _up(address, page_bytes if size >= page_bytes else ALIGNMENT)
        # The rest of a page is too little for a small tensor, or the bank is another's.
        page = (address + min(size, page_bytes) - 1) // page_bytes
        if page != address // page_bytes or (bank is not None and page % banks != bank):
            wanted = page if bank is None else page + (bank - page) % banks
            return wanted * page_bytes
        return address

    return fit


def _first_fit(alive: list[tuple[int, int]], size: int, fit: Callable[[int], int]) -> int:
    address = fit(0)
    for other, taken in alive:
        if address + size <= other:
            break
        address = max(address, fit(other + taken))
    return address


def _up(address: int, step: int) -> int:
    return -(-address // step) * step
