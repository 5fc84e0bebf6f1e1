# The whole project in a few words: make help lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test lint coverage docs wheel bench clean

help:
	@echo "make demo    draw people, train a network on them, score it, write a page of rankings"
	@echo "make test    run the tests"
	@echo "make lint    check style and types"
	@echo "make coverage  run the tests, and tell which lines they do not reach"
	@echo "make docs    build the documentation as a site"
	@echo "make wheel   build dist/crosscam-*.whl"
	@echo "make bench   time the hot paths (needs a quiet machine)"
	@echo "make clean   remove the environment and the demo"

setup: $(READY)

# torch first and pinned: without a pin, pip may take a build with several gigabytes of CUDA libraries.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f'crosscam needs Python 3.11 or newer; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 $(MAKECMDGOALS)')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: setup
	$(BIN)/crosscam demo

test: setup
	$(BIN)/python -m pytest -n auto

coverage: setup
	$(BIN)/python -m pip install --quiet "pytest-cov>=7" "coverage>=7.10"
	$(BIN)/python -m pytest -n auto --cov --cov-report=term

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

bench: setup
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/descriptors_to_scores.py
	$(BIN)/python benchmarks/large_gallery.py
	$(BIN)/python benchmarks/reranking.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/render_speed.py
	$(BIN)/python benchmarks/input_speed.py
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/distributed.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/kill_resume.py
	$(BIN)/python docs/make_performance.py

clean:
	rm -rf $(VENV) runs/demo
