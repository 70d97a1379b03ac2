# Each target makes the virtual environment by itself and installs only when pyproject or constraints changed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint format bench docs package services clean

demo: .venv/.demo
	$(BIN)/assay demo

# Two workers that each start a thread per core would only wait for each other.
TEST_ENV := OMP_NUM_THREADS=1

test: .venv/.dev
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# With the tests that take minutes: the demo, notebooks, kills at any moment, all explanations.
test-all: .venv/.dev
	$(TEST_ENV) HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n 2 --dist worksteal

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

# The wheel is installed into an empty environment with nothing but its dependencies, and run.
package: .venv/.dev
	rm -rf dist build/environment
	$(BIN)/python -m build --no-isolation
	$(PYTHON) -m venv build/environment
	build/environment/bin/pip install --disable-pip-version-check -q -c constraints.txt dist/*.whl
	build/environment/bin/assay --version
	build/environment/bin/assay recipes list

# Programs that some tests need (they skip without), by their Debian names.
SERVICES := chromium curl haproxy mosquitto openssl prometheus python3-tk redis-server strace xdotool xvfb
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

services:
	@dpkg -s $(SERVICES) >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SERVICES) >/dev/null; }

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
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site
