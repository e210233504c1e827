"""What the documents show runs, and what they point to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENTS = ("README.md", "docs/README.md", "examples/data/README.md")


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_readme_example_runs(repository: Path, tmp_path: Path) -> None:
    (block,) = python_blocks((repository / "README.md").read_text(encoding="utf-8"))
    # Outside the repository, as a user's script would be.
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cycles" in done.stdout
    assert (tmp_path / "model.girih").is_file()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str, repository: Path) -> None:
    path = repository / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


def test_readme_names_targets_that_make_has(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    readme = (repository / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
