# The door: each of these sets up what it needs by itself; Python ≥ 3.11, make and git are enough.

PYTHON ?= python3
TOOLS := .tools
UV := $(TOOLS)/bin/uv
export UV_PYTHON ?= $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
# Without kept bytecode every command would compile hundreds of files first.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-fast test-servers check sbom bench format clean

help:
	@echo "make demo    the story on this machine: undone, mended, approved, deployed; in a minute"
	@echo "make test    the tests"
	@echo "make test-fast  the tests that need no server and no service"
	@echo "make test-servers  some of the executor's tests on PostgreSQL 13 and 16, as a plain role"
	@echo "make check   format, lint, types, import walls, documents"
	@echo "make sbom    the bill of materials of what production runs: CycloneDX 1.6, to sbom.json"
	@echo "make bench   the benchmarks; writes bench/results.json"

setup: .venv/.ready

# uv comes through pip into the project's own folder: nothing is installed on the machine.
$(UV):
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

.venv/.ready: pyproject.toml uv.lock | $(UV)
	$(UV) sync --quiet --locked
	$(UV) run --no-sync python -m shared.prisma
	@touch $@

demo: setup
	@$(UV) run --no-sync upgradepath demo

# Two workers share what a file needs; what starts services or watches the clock runs alone afterwards.
test: setup
	$(UV) run --no-sync pytest -n 2 --dist loadfile -m "unit or database"
	$(UV) run --no-sync pytest -m "not (unit or database)"

test-fast: setup
	HYPOTHESIS_PROFILE=quick $(UV) run --no-sync pytest -n 2 --dist loadfile -q -m unit

# Masked copies, rights and restores depend on the server most; `python -m tests.servers` runs all on any from 13 on.
ON_SERVERS := $(addprefix tests/executor/test_,masking_faithful.py restore.py roll_back.py)
test-servers: setup
	$(UV) run --no-sync python -m tests.servers 13 16 --plain -- -n 2 --dist loadfile $(ON_SERVERS) -k "not [15 and not test_rows_that_belong"

check: setup
	$(UV) run --no-sync ruff format --check .
	$(UV) run --no-sync ruff check .
	$(UV) run --no-sync mypy services shared cli local bench tests
	$(UV) run --no-sync lint-imports
	$(UV) run --no-sync upgradepath contracts check
	$(UV) run --no-sync python -m local.sbom --check

sbom: setup
	$(UV) run --no-sync python -m local.sbom > sbom.json

bench: setup
	$(UV) run --no-sync python -m bench

format: setup
	$(UV) run --no-sync ruff format .
	$(UV) run --no-sync ruff check --fix .

clean:
	rm -rf .venv $(TOOLS) .upgradepath
