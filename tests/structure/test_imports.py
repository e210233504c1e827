"""Imports point one way: runtime <- dialects <- passes <- compiler (DESIGN, docs)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What each part may import of the others. The runtime stands alone: it reads the artifact only.
ALLOWED = {
    "runtime": {"runtime"},
    "dialects": {"dialects", "runtime"},
    "passes": {"passes", "dialects", "runtime"},
    "compiler": {"compiler", "passes", "dialects", "runtime"},
}

# A saved artifact must run where neither the compiler nor MLIR is loaded.
FOREIGN_TO_RUNTIME = {"torch_mlir", "mlir", "iree.compiler"}


def imported_names(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Yields (line, absolute dotted name) of every import in a file, wherever it stands.

    `package` is the dotted name of the package the file is in; it resolves relative imports.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join(parents[: len(parents) - node.level + 1])
                module = f"{base}.{module}".rstrip(".")
            # `from girih import passes` names a module in its last part.
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def problems_of(path: Path, part: str, root: Path) -> list[str]:
    parents = path.relative_to(root).parent.parts
    package = ".".join(("girih", *parents))
    problems: list[str] = []
    for line, name in imported_names(path, package):
        where = f"{path.relative_to(root)}:{line}"
        first, _, rest = name.partition(".")
        if first in ALLOWED:
            problems.append(f"{where}: bare import of {name}; write girih.{name}")
        elif first == "girih":
            target = rest.partition(".")[0]
            if target in ALLOWED and target not in ALLOWED[part]:
                problems.append(f"{where}: girih.{part} must not import girih.{target}")
            elif target not in ALLOWED and target != "__version__":
                # The top package re-exports the compiler: inside, import a name from its home.
                problems.append(f"{where}: import {name} from the module that defines it")
        elif part == "runtime" and any(is_within(name, module) for module in FOREIGN_TO_RUNTIME):
            problems.append(f"{where}: girih.runtime must not import {name}")
    return problems


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_point_one_way(part: str, repository: Path) -> None:
    problems = [
        problem
        for path in sorted((repository / part).rglob("*.py"))
        for problem in problems_of(path, part, repository)
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("folder", ["tests", "examples", "benchmarks"])
def test_no_bare_imports_elsewhere(folder: str, repository: Path) -> None:
    problems = [
        f"{path.relative_to(repository)}:{line}: bare import of {name}; write girih.{name}"
        for path in sorted((repository / folder).rglob("*.py"))
        for line, name in imported_names(path, "tests")
        if name.partition(".")[0] in ALLOWED
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("part", "source", "expected"),
    [
        ("dialects", "from girih.passes import tile", "must not import girih.passes"),
        ("dialects", "from girih import compiler", "must not import girih.compiler"),
        ("dialects", "from ..passes import tile", "must not import girih.passes"),
        ("dialects", "def f():\n    import girih.compiler", "must not import girih.compiler"),
        ("runtime", "from girih.dialects import mfm", "must not import girih.dialects"),
        ("runtime", "from torch_mlir import ir", "must not import torch_mlir"),
        ("runtime", "import mlir.ir", "must not import mlir"),
        ("passes", "import dialects.mfm", "bare import"),
        ("compiler", "from girih import Target", "module that defines it"),
        ("compiler", "from girih.passes import tile\nfrom . import errors", None),
    ],
)
def test_the_check_itself(part: str, source: str, expected: str | None, tmp_path: Path) -> None:
    path = tmp_path / part / "sample.py"
    path.parent.mkdir()
    path.write_text(source, encoding="utf-8")
    problems = problems_of(path, part, tmp_path)
    if expected is None:
        assert not problems
    else:
        assert len(problems) == 1
        assert expected in problems[0]


@pytest.mark.parametrize("module", ["girih", "girih.runtime"])
def test_loads_no_compiler(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "heavy = {'torch', 'torch_mlir', 'girih.compiler', 'girih.passes', 'girih.dialects'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
