# Two commands do everything on a fresh machine: `make demo` and `make test`. The rest is for those who change the code.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export UV_COMPILE_BYTECODE = 1

.PHONY: demo test lint audit docs notebooks bench gpu gpu-bundle long chaos scale package install clean

demo: $(READY)
	$(BIN)/python -m ray_ue.cli.demo

test: $(READY) lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright --level error
	$(BIN)/python -m tools.audit

# Known vulnerabilities of the pinned dependencies; skipped with a line where the index does not give its data.
audit: $(READY)
	$(BIN)/python -m tools.audit

# The documentation, in site/: open site/index.html. It needs no network; every link within it is checked.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean --quiet
	$(BIN)/python -m docs.generate.check site

bench: $(READY)
	$(BIN)/python -m benchmarks

# What one GPU does, each check beside its bare limit, in six minutes at most: CHECKS=mi-ue,uc PICTURES=FOLDER; DEVICE=cpu is a dry run.
CHECKS ?= all
DEVICE ?= cuda
SECONDS ?= 360
PICTURES ?=
gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu $(CHECKS) --device $(DEVICE) --seconds $(SECONDS) $(if $(PICTURES),--pictures $(PICTURES))

# The same for a machine without a package index, in parts below 45 MiB; the last line says how to join and start them there.
gpu-bundle: $(READY)
	$(BIN)/python -m benchmarks.gpu.bundle $(if $(PICTURES),--pictures $(PICTURES))

# What takes half a minute or more each: several nodes, submitted jobs, a disk that fills up, kills in the middle.
long: $(READY)
	$(BIN)/python -m pytest -m long

# Kills workers, nodes, the head and the command at random times for about half an hour: CHAOS_KILLS=24 CHAOS_SEED=0.
chaos: $(READY)
	$(BIN)/python -m pytest -m chaos -s tests/chaos

# How memory and the cost of a row change from 10,000 rows to a million: SCALE_ROWS=10000,100000,1000000.
scale: $(READY)
	$(BIN)/python -m benchmarks.scale

# Runs the notebooks from top to bottom, each in a folder without earlier results, and keeps their pictures: 15 minutes on two cores.
notebooks: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --group notebooks
	rm -rf notebooks/out
	cd notebooks && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/jupyter nbconvert --to notebook --execute --inplace *.ipynb
	sed -i 's#$(CURDIR)/notebooks/##g; s#$(CURDIR)/##g' notebooks/*.ipynb  # what they print must not depend on where they ran

# A wheel and an sdist in dist/, checked; the second line needs a network, as it fetches what checks the description.
package: $(READY)
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	$(BIN)/uv tool run twine@7.0.0 check --strict dist/*.whl dist/*.tar.gz
	$(BIN)/python -m pytest tests/test_package.py

install: $(READY)

# The marker is written last, so an interrupted install starts again.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python {v[0]}.{v[1]} found; ray-ue needs 3.11 or 3.12: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable . --group dev
	touch $(READY)

clean:
	rm -rf .venv demo-out bench-out gpu-out gpu-bundle site
