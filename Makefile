# Each target makes the virtual environment by itself and installs only when pyproject or constraints changed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint format bench docs clean

demo: .venv/.demo
	$(BIN)/assay demo

test: .venv/.dev
	$(BIN)/pytest -n 2 --dist worksteal

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All pairs side by side; the baselines have an environment of their own. For example: make bench BENCH="--quick"
bench: .venv/.dev .venv/bench/.made
	$(BIN)/python benchmarks/run.py $(BENCH)
	$(BIN)/python benchmarks/watching.py
	$(BIN)/python benchmarks/stores.py

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[demo]"
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[demo,dev]"
	touch $@

.venv/bench/.made: .venv/bin/python benchmarks/requirements.txt
	$(PYTHON) -m venv .venv/bench
	.venv/bench/bin/pip install --disable-pip-version-check -q -r benchmarks/requirements.txt
	touch $@

.venv/.docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[train,docs]"
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site
