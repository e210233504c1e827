"""The text form of a Program: `disassemble` and `assemble` are inverse (docs/isa.md, Program file).

A line is an opcode and `name=value` fields, in any order; the disassembler omits defaults and
indents loop bodies. `#` begins a comment.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from girih.runtime.errors import ProgramError
from girih.runtime.program import (
    ENGINE_OF,
    FLAGS,
    NO_WAIT,
    DType,
    Engine,
    Instruction,
    Opcode,
    Operand,
    Program,
    Space,
)

_ENGINES = (Engine.DMA_IN, Engine.DMA_OUT, Engine.MATRIX, Engine.VECTOR)
_HEADER_FIELDS = ("scratchpad", "accumulator", "array", "lanes", "dram")
_OPERAND = re.compile(r"(\w+):(\w+)\[([^\]]*)\]")
_FIELD = re.compile(r"(\w+)=((?:[^\s\[\]]|\[[^\]]*\])*)")


def disassemble(program: Program) -> str:
    """The text of a program; ends in a newline."""
    lines = [
        f"program scratchpad={program.scratchpad_bytes} accumulator={program.accumulator_bytes} "
        f"array={program.array_rows}x{program.array_columns} lanes={program.vector_lanes} "
        f"dram={program.dram_bytes}"
    ]
    depth = 0
    for instruction in program.instructions:
        if instruction.opcode is Opcode.END and depth > 0:
            depth -= 1
        lines.append("  " * depth + disassemble_instruction(instruction))
        if instruction.opcode is Opcode.LOOP:
            depth += 1
    return "\n".join(lines) + "\n"


def disassemble_instruction(instruction: Instruction) -> str:
    """The line of one instruction, without indentation."""
    parts = [instruction.opcode.name.lower()]
    rows = "count" if instruction.opcode is Opcode.LOOP else "rows"
    for name, value in (
        (rows, instruction.rows),
        ("columns", instruction.columns),
        ("depth", instruction.depth),
    ):
        if value:
            parts.append(f"{name}={value}")
    if instruction.flags:
        parts.append(f"flags={_flags_text(instruction)}")
    for letter, operand in zip("abcd", instruction.operands, strict=True):
        if operand is not None:
            parts.append(f"{letter}={_operand_text(operand)}")
    if any(instruction.immediates):
        numbers = [str(number) for number in instruction.immediates]
        while numbers[-1] == "0":
            numbers.pop()
        parts.append(f"immediates={','.join(numbers)}")
    waited = [
        f"{engine.name.lower()}-{distance}"
        for engine, distance in zip(_ENGINES, instruction.wait, strict=True)
        if distance != NO_WAIT
    ]
    if waited:
        parts.append(f"wait={','.join(waited)}")
    if instruction.tag:
        parts.append(f"tag={instruction.tag}")
    return " ".join(parts)


def _flags_text(instruction: Instruction) -> str:
    names: list[str] = []
    rest = instruction.flags
    for flag in FLAGS.get(instruction.opcode, ()):
        if rest & flag:
            names.append(str(flag.name).lower())
            rest &= ~int(flag)
    if rest:
        names.append(f"0x{rest:x}")
    return ",".join(names)


def _operand_text(operand: Operand) -> str:
    parts = [f"0x{operand.base:x}"]
    if operand.pitch:
        parts.append(f"pitch={operand.pitch}")
    if operand.slots != 1 or operand.slot_bytes:
        parts.append(f"slots={operand.slots}/{operand.slot_bytes}")
    if any(operand.ring):
        parts.append("ring=" + ",".join(map(str, operand.ring)))
    if any(operand.stride):
        parts.append("stride=" + ",".join(map(str, operand.stride)))
    if operand.phase:
        parts.append(f"phase={operand.phase}")
    return f"{operand.space.name.lower()}:{operand.dtype.name.lower()}[{' '.join(parts)}]"


def assemble(text: str) -> Program:
    """The program of a text.

    Raises:
        ProgramError: the message names the line, what was found and what was expected.
    """
    header: dict[str, str] | None = None
    instructions: list[Instruction] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        parser = _Line(number)
        mnemonic, fields = parser.split(content)
        if header is None:
            if mnemonic != "program" or sorted(fields) != sorted(_HEADER_FIELDS):
                parser.refuse(f"expected `program` with {', '.join(_HEADER_FIELDS)}", content)
            header = fields
        else:
            instructions.append(parser.instruction(mnemonic, fields))
    if header is None:
        raise ProgramError("line 1: expected a `program` line, found nothing")
    parser = _Line(1)
    rows, _, columns = header["array"].partition("x")
    return Program(
        instructions=tuple(instructions),
        scratchpad_bytes=parser.number("scratchpad", header["scratchpad"]),
        accumulator_bytes=parser.number("accumulator", header["accumulator"]),
        array_rows=parser.number("array", rows),
        array_columns=parser.number("array", columns),
        vector_lanes=parser.number("lanes", header["lanes"]),
        dram_bytes=parser.number("dram", header["dram"]),
    )


class _Line:
    """Parses the fields of one line and names it in errors."""

    def __init__(self, number: int) -> None:
        self._number = number

    def refuse(self, expected: str, found: str) -> NoReturn:
        raise ProgramError(f"line {self._number}: {expected}, found {found!r}")

    def number(self, name: str, text: str) -> int:
        try:
            return int(text, 0)
        except ValueError:
            self.refuse(f"{name}: expected a number", text)

    def numbers(self, name: str, text: str) -> tuple[int, ...]:
        return tuple(self.number(name, part) for part in text.split(","))

    def four(self, name: str, text: str) -> tuple[int, int, int, int]:
        numbers = self.numbers(name, text)
        if len(numbers) != 4:
            self.refuse(f"{name}: expected 4 numbers", text)
        return numbers

    def split(self, content: str) -> tuple[str, dict[str, str]]:
        mnemonic, _, rest = content.partition(" ")
        fields: dict[str, str] = {}
        at = 0
        while at < len(rest):
            if rest[at].isspace():
                at += 1
                continue
            match = _FIELD.match(rest, at)
            if match is None or match[1] in fields:
                self.refuse("expected name=value, each name once", rest[at:])
            fields[match[1]] = match[2]
            at = match.end()
        return mnemonic, fields

    def instruction(self, mnemonic: str, fields: dict[str, str]) -> Instruction:
        try:
            opcode = Opcode[mnemonic.upper()]
        except KeyError:
            self.refuse("expected an opcode", mnemonic)
        values: dict[str, int] = {"rows": 0, "columns": 0, "depth": 0, "tag": 0}
        operands: dict[str, Operand] = {}
        flags = 0
        immediates: tuple[int, ...] = ()
        wait = [NO_WAIT] * 4
        for name, text in fields.items():
            if name == "count" and opcode is Opcode.LOOP:
                values["rows"] = self.number(name, text)
            elif name in values:
                values[name] = self.number(name, text)
            elif name == "flags":
                flags = self.flags(opcode, text)
            elif name in ("a", "b", "c", "d"):
                operands[name] = self.operand(name, text)
            elif name == "immediates":
                immediates = self.numbers(name, text)
                if len(immediates) > 8:
                    self.refuse("immediates: expected at most 8 numbers", text)
            elif name == "wait":
                for part in text.split(","):
                    engine, _, distance = part.rpartition("-")
                    known = {item.name.lower(): item for item in _ENGINES}
                    if engine not in known or known[engine] is ENGINE_OF[opcode]:
                        self.refuse("wait: expected another engine and a distance", part)
                    wait[known[engine]] = self.number(name, distance)
            else:
                self.refuse("expected a field of an instruction", name)
        arguments: dict[str, Any] = {**values, **operands}
        return Instruction(
            opcode=opcode,
            flags=flags,
            immediates=immediates,
            wait=(wait[0], wait[1], wait[2], wait[3]),
            **arguments,
        )

    def flags(self, opcode: Opcode, text: str) -> int:
        flags = 0
        for part in text.split(","):
            flag_class = FLAGS.get(opcode)
            if flag_class is not None and part.upper() in flag_class.__members__:
                flags |= flag_class[part.upper()]
            elif part[:1].isdigit():
                flags |= self.number("flags", part)
            else:
                self.refuse(f"expected a flag of {opcode.name.lower()}", part)
        return int(flags)

    def operand(self, letter: str, text: str) -> Operand:
        match = _OPERAND.fullmatch(text)
        if match is None:
            self.refuse(f"{letter}: expected space:dtype[address ...]", text)
        space_name, dtype_name, inside = match.groups()
        if space_name.upper() not in Space.__members__:
            self.refuse(f"{letter}: expected a space", space_name)
        if dtype_name.upper() not in DType.__members__:
            self.refuse(f"{letter}: expected a dtype", dtype_name)
        address, *rest = inside.split() or [""]
        pitch, slots, slot_bytes, phase = 0, 1, 0, 0
        stride = ring = (0, 0, 0, 0)
        for part in rest:
            name, _, value = part.partition("=")
            if name == "pitch":
                pitch = self.number(name, value)
            elif name == "slots":
                first, _, second = value.partition("/")
                slots, slot_bytes = self.number(name, first), self.number(name, second)
            elif name == "ring":
                ring = self.four(name, value)
            elif name == "stride":
                stride = self.four(name, value)
            elif name == "phase":
                phase = self.number(name, value)
            else:
                self.refuse(f"{letter}: expected pitch, slots, ring, stride or phase", part)
        return Operand(
            space=Space[space_name.upper()],
            base=self.number(letter, address),
            dtype=DType[dtype_name.upper()],
            pitch=pitch,
            slots=slots,
            slot_bytes=slot_bytes,
            stride=stride,
            ring=ring,
            phase=phase,
        )
