"""Runs a peer in a virtual environment of its own, and remembers what it answered.

A peer is a package from PyPI with a small driver, peers/<name>.py. The driver gets a case as JSON
on standard input and answers with one line of JSON per product, as soon as it has it:

    {"name", "array": {"rows", "columns"}, "scratchpad_bytes", "accumulator_bytes",
     "dram_bytes_per_cycle", "energy": pJ per MAC or byte, "buffering": "single" or "double",
     "gemms": [{"rows", "columns", "depth", "kind"}], and what the tool wants besides}
    {"cycles", "dram_read_bytes", "dram_write_bytes", "energy_pj", "mapping", "wall_seconds",
     "cpu_seconds"}

Environments and answers lie in build/peers/. An answer is found again by package versions, driver
and case.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemms import Gemm

from girih.runtime.target import Target

DRIVERS = Path(__file__).resolve().parent
FOLDER = DRIVERS.parent.parent / "build" / "peers"


class UnavailableError(Exception):
    """A peer that cannot be installed or run here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """A tool: what pip installs, and which Python it needs where that is not girih's."""

    name: str
    requirements: tuple[str, ...]
    python: str | None = None

    def interpreter(self) -> Path:
        """Python of the peer's environment, which is made where it is missing.

        Raises `UnavailableError` where Python is missing or pip fails.
        """
        folder = FOLDER / self.name
        interpreter, done = folder / "bin" / "python", folder / "installed"
        if done.exists() and done.read_text().split() == list(self.requirements):
            return interpreter
        base = sys.executable if self.python is None else self._find(self.python)
        shutil.rmtree(folder, ignore_errors=True)
        _checked([base, "-m", "venv", str(folder)])
        pip = [str(interpreter), "-m", "pip", "install", "--quiet"]
        _checked([*pip, "--disable-pip-version-check", *self.requirements])
        done.write_text("\n".join(self.requirements))
        return interpreter

    @staticmethod
    def _find(version: str) -> str:
        # pyenv's python3.12 starts only where this says so; other pythons take no notice.
        environment = {**os.environ, "PYENV_VERSION": version}
        command = [f"python{version}", "-c", "import sys; print(sys.executable)"]
        try:
            found = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            raise UnavailableError(f"no python{version} on PATH") from None
        return found.stdout.strip()


PEERS = {
    peer.name: peer
    for peer in (
        Peer("zigzag", ("zigzag-dse==3.9.1", "six")),
        Peer("accelforge", ("accelforge==1.0.467",), python="3.12"),
        Peer("scalesim", ("scalesim==3.0.0", "numpy==2.2.6")),
    )
}


def case_of(target: Target, buffering: str, **options: Any) -> dict[str, Any]:
    """A target as the drivers want it."""
    energy = target.energy
    return {
        "name": target.name,
        "array": {"rows": target.array.rows, "columns": target.array.columns},
        "scratchpad_bytes": target.scratchpad_bytes,
        "accumulator_bytes": target.accumulator_bytes,
        "dram_bytes_per_cycle": target.dram_bytes_per_cycle,
        "energy": {
            name: getattr(energy, name).value
            for name in ("mac", "scratchpad", "accumulator", "dram")
        },
        "buffering": buffering,
        **options,
    }


def answers(
    peer: Peer, case: dict[str, Any], gemms: Sequence[Gemm], fresh: bool = False
) -> list[dict[str, Any]]:
    """What the peer says of one batch of each product, from memory unless `fresh`.

    Raises `UnavailableError` where the peer cannot be run or fails.
    """
    driver = DRIVERS / f"{peer.name}.py"
    store = FOLDER / f"{peer.name}.json"
    known: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    inputs = [
        {"rows": gemm.rows, "columns": gemm.columns, "depth": gemm.depth, "kind": gemm.kind}
        for gemm in gemms
    ]
    source = hashlib.sha256(driver.read_bytes()).hexdigest()
    keys = [
        hashlib.sha256(
            json.dumps([peer.requirements, source, case, each], sort_keys=True).encode()
        ).hexdigest()
        for each in inputs
    ]
    missing = {
        key: each for key, each in zip(keys, inputs, strict=True) if fresh or key not in known
    }
    if missing:
        # -P: the driver's folder would hide the peer's package of the same name.
        command = [str(peer.interpreter()), "-P", str(driver)]
        with _log(peer).open("w") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({**case, "gemms": list(missing.values())}))
            process.stdin.close()
            for key, line in zip(missing, process.stdout, strict=False):
                known[key] = {"case": case, "gemm": missing[key], "answer": json.loads(line)}
                _write(store, json.dumps(known, indent=1))
        if process.wait() != 0:
            raise UnavailableError(f"{peer.name} failed, see {_log(peer)}")
    return [known[key]["answer"] for key in keys]


def _log(peer: Peer) -> Path:
    return FOLDER / f"{peer.name}.log"


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def _checked(command: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UnavailableError(f"{' '.join(command[1:4])} failed: {lines[-1]}")
