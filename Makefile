# make demo, make test: everything from python3, make and a C++ compiler. make check: lint and types.
# make bench: speed and memory beside full fine-tuning, LoRA and SHiRA, on all cores.
#
#   PYTHON=python3.10 make test     another interpreter (3.8 to 3.12)
#   TORCH=torch==2.4.1 make demo    another torch
PYTHON ?= python3
VENV ?= .venv
# One torch for all; below 3.11 the newest that the interpreter has.
TORCH ?= $(shell $(PYTHON) -c 'import sys; print("torch==2.13.0" if sys.version_info >= (3, 11) else "torch")')

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Small matrices: threads only get into each other's way, most of all beside other work.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test bench check clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/python examples/glue/demo/run.py --out demo

# Unit tests first; then, where DWT_REAL_DIR names the real inputs, the tests on them.
test: $(INSTALLED)
	$(BIN)/python -m pytest

# RoBERTa-large: needs 20 GB of memory and nothing else running. BENCH="--layers 4" for a first look.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py $(BENCH)

check: $(VENV)/.checked
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build *.egg-info

# fairseq is built against the torch that is there: with build isolation, pip would fetch a second
# one. Older pips alone accept the metadata of fairseq 0.12.2's omegaconf.
$(INSTALLED): setup.py constraints.txt fairseq_dwt/version.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 8) <= v <= (3, 12) else "fairseq_dwt needs Python 3.8 to 3.12, got %d.%d: set PYTHON=" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip<24.1" "setuptools<81" wheel "cython<3.1" numpy
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --no-build-isolation -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/.bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-build-isolation -c constraints.txt -e ".[bench]"
	touch $@

$(VENV)/.checked: $(INSTALLED)
	$(BIN)/python -m pip install --quiet ruff mypy pre-commit types-PyYAML
	touch $@
