# Each target creates the virtual environment if necessary, and installs only when pyproject or constraints changed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint format bench system docs package services clean

demo: .venv/.demo
	$(BIN)/assay demo

# One thread per worker: two workers with a thread per core would slow each other down.
# Many tests start processes; if bytecode is not written, each of them compiles all modules.
TEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

test: .venv/.dev
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# Includes tests that take minutes: the demo, notebooks, kills at random moments, all explanations.
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

# All comparisons; the baselines have their own environment. For example: make bench BENCH="--quick"
bench: .venv/.dev .venv/bench/.made
	$(BIN)/python benchmarks/run.py $(BENCH)
	$(BIN)/python benchmarks/watching.py
	$(BIN)/python benchmarks/stores.py

# All services on this machine, under load and under faults; writes benchmarks/SYSTEM.md. A short round: SYSTEM="--quick"
system: .venv/.dev
	$(BIN)/python benchmarks/system.py $(SYSTEM)

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Installs the wheel and its dependencies into an empty environment and runs it.
package: .venv/.dev
	rm -rf dist build/environment
	$(BIN)/python -m build --no-isolation
	$(PYTHON) -m venv build/environment
	build/environment/bin/pip install --disable-pip-version-check -q -c constraints.txt dist/*.whl
	build/environment/bin/assay --version
	build/environment/bin/assay recipes list

# Debian packages that some tests need; without them these tests are skipped.
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
