"""A source file stays short enough to be read in one sitting."""

from __future__ import annotations

from pathlib import Path

LONGEST = 700
FOLDERS = [
    "girih",
    "compiler",
    "dialects",
    "passes",
    "runtime",
    "tests",
    "examples",
    "benchmarks",
]
SUFFIXES = {".py", ".pyi", ".cpp", ".hpp", ".h"}


def test_no_source_file_is_too_long(repository: Path) -> None:
    too_long: list[str] = []
    for folder in FOLDERS:
        for path in sorted((repository / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                count = len(path.read_text(encoding="utf-8").splitlines())
                if count > LONGEST:
                    too_long.append(f"{path.relative_to(repository)}: {count} lines")
    assert not too_long, f"longer than {LONGEST} lines, split them:\n" + "\n".join(too_long)
