# make run: everything on the built-in demo corpus · make check: lint and the fast tests · make test: what CI runs
# make docs: the documentation site, in site/ · make bench: the benchmarks · make clean: remove what make made
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# A process more than there are cores: tests wait for processes and servers that they start.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(shell expr $$(nproc) + 1) --maxprocesses 5 --dist loadfile --no-loadscope-reorder

.PHONY: run check test lint docs bench clean

run: $(VENV)/.installed
	$(BIN)/amber run pipeline.yaml

check: $(VENV)/.installed-dev lint
	$(PYTEST) -m "not slow"

test: $(VENV)/.installed-dev lint
	$(PYTEST) -ra --durations=10

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) build dist site *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
