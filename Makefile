# Two commands: `make demo` and `make test`. Each alone suffices on a clean clone or an unpacked source archive with
# Python >= 3.11 and a package index. Another Python: make PYTHON=python3.12 demo
PYTHON ?= python3
READY := .venv/.ready

# `dvc repro` runs `python -m ...`: the environment's programs must be found first.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help demo run check test test-slow lint clean
help:
	@echo 'make demo       the whole pipeline on the embedded phantom, in the folder demo/: minutes on two cores'
	@echo 'make run        check params, data, disk and device; then dvc repro with your params.yaml'
	@echo 'make test       lint, types and all tests but the slow ones'
	@echo 'make test-slow  the slow tests'
	@echo 'make clean      remove caches of the tools and the folder demo/ (never data, models or results)'

# The sentinel is written last, so that an interrupted installation is repeated.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "SonoSynth needs Python >= 3.11; found: $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@test -e .git || .venv/bin/dvc config --local core.no_scm true
	@touch $@

demo: $(READY)
	@python -m pipelines.demo

check: $(READY)
	@python -m pipelines check

run: $(READY)
	@python -m pipelines check && dvc repro

lint: $(READY)
	ruff check
	ruff format --check
	mypy

test: lint
	python -m pytest --cov --cov-report=term:skip-covered

test-slow: $(READY)
	python -m pytest -m slow

clean:
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find pipelines generative segmentation tests -name __pycache__ -prune -exec rm -rf {} +
