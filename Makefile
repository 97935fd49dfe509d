# make install | demo | test | bench | faults | fuzz: set up a virtual environment, reproduce the core of the table, run the tests, measure
# the speed, try to break it for twenty minutes, send 100,000 generated cases through every way into the program.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test bench faults fuzz check

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt setup.py $(wildcard src/fwplab/ops/cpu/*.cpp src/fwplab/ops/cpu/*.h)
	$(PYTHON) -c 'import sys; sys.exit("fwplab needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/fwplab reproduce irie2023 --quick --out report.html

bench: install
	$(BIN)/fwplab bench

faults: install
	$(BIN)/python -m tests.faults

test: install check
	$(BIN)/python -m pytest --numprocesses 2

fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
