"""How lit runs the FileCheck tests: every .mlir file here, with the tools of our environment."""

import os
import sys
from pathlib import Path

import lit.formats

config.name = "girih"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.excludes = ["Inputs"]
config.test_source_root = str(Path(__file__).resolve().parent)
# Temporary files (%t) stay out of the source tree.
config.test_exec_root = str(Path(__file__).resolve().parents[2] / "build" / "lit")

# `girih-opt` and `filecheck` are scripts beside the interpreter that runs lit.
tools = str(Path(sys.executable).parent)
config.environment["PATH"] = os.pathsep.join([tools, os.environ.get("PATH", "")])
config.environment["HOME"] = os.environ.get("HOME", "")
