# make demo, make test: everything from python3 and make. make check: lint and types.
#   make demo OFFLINE=1: a smoke test of the mechanics, of which nothing is fetched.
# make test-install: the packages that pip installs, in empty environments.
# make bench: speed and memory beside full fine-tuning, LoRA and SHiRA, on all cores.
# make gpu: tests and figures on a GPU, where python3 has torch; needs no network. What that Python lacks
#   is carried as files: make gpu-wheels beforehand, where there is one (GPU_PYTHON=3.12, its version).
#   make gpu GPU=--cpu rehearses it; GPU="--parts tests" is a part of it, GPU_PYTHON_BIN its Python.
#
#   PYTHON=python3.10 make test     another interpreter (3.10 to 3.13)
#   TORCH=torch==2.4.1 make demo    another torch
PYTHON ?= python3
VENV ?= .venv
# One torch for all; below 3.11 the newest that the interpreter has.
TORCH ?= $(shell $(PYTHON) -c 'import sys; print("torch==2.13.0" if sys.version_info >= (3, 11) else "torch")')

# fairseq 0.12.2, of Pythons below 3.11, lacks a file that it builds where torch is there before it.
FAIRSEQ_FIRST := $(shell $(PYTHON) -c 'import sys; print("" if sys.version_info >= (3, 11) else "fairseq==0.12.2")')

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Small matrices: threads only get into each other's way, most of all beside other work.
export OMP_NUM_THREADS ?= 1
# What is installed uncompiled is compiled as it is first imported, and then kept: images set this to 1.
export PYTHONDONTWRITEBYTECODE =

# Tests at a time; a file's tests stay together.
PROCESSES ?= 2

GPU_PYTHON ?= 3.12
GPU_PYTHON_BIN ?= python3
GPU_MISSING := hydra-core==1.3.2 omegaconf==2.3.0 bitarray==3.12.3

.PHONY: demo test test-install bench check clean gpu gpu-wheels
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/python examples/glue/demo/run.py --out demo $(if $(OFFLINE),--offline)

# The longest files first, among them those on real inputs, where DWT_REAL_DIR names them.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(PROCESSES) --no-loadscope-reorder

# Wheel and source distribution, each into an empty environment.
test-install: $(VENV)/.test
	$(PIP_INSTALL) build
	DWT_INSTALL=1 $(BIN)/python -m pytest tests/test_install.py

# RoBERTa-large: needs 20 GB of memory and nothing else running. BENCH="--layers 4" for a first look.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py $(BENCH)

# Nothing is installed but into .gpu/site; fairseq is built there, against the torch that is there.
gpu:
	@test ! -d .gpu/wheels || test -f .gpu/site/.done || { \
	  $(GPU_PYTHON_BIN) -m pip install --quiet --no-index --no-deps --no-build-isolation \
	    --target .gpu/site .gpu/wheels/* && touch .gpu/site/.done; }
	PYTHONPATH="$(CURDIR)/.gpu/site:$(CURDIR)" $(GPU_PYTHON_BIN) benchmarks/gpu.py $(GPU)

gpu-wheels: $(INSTALLED)
	rm -rf .gpu && mkdir -p .gpu/wheels
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) \
	  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
	  --dest .gpu/wheels $(GPU_MISSING)
	$(BIN)/python -m pip download --quiet --no-deps --no-build-isolation --no-binary=:all: \
	  --dest .gpu/wheels antlr4-python3-runtime==4.9.3 fairseq-fixed==0.12.3.1

check: $(VENV)/.checked
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=benchmarks $(BIN)/mypy $(wildcard benchmarks/*.py)

clean:
	rm -rf $(VENV) demo build *.egg-info

# fairseq brings torchaudio, of which there are builds for CUDA alone where pip looks: beside a CPU's torch
# its library does not load, and transformers imports it. Without the library it is Python, and works.
WITHOUT_CUDA_AUDIO = @$(BIN)/python -c "import torchaudio" 2>/dev/null \
	  || rm -f $(VENV)/lib/python*/site-packages/torchaudio/lib/*torchaudio*.so

# Where fairseq is built, it is against the torch that is there: with build isolation, pip would fetch a
# second one. Older pips alone accept the metadata of fairseq 0.12.2's omegaconf. What is never imported
# is never compiled.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
$(INSTALLED): setup.py constraints.txt fairseq_dwt/version.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else "fairseq_dwt needs Python 3.10 to 3.13, got %d.%d: set PYTHON=" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) "pip<24.1" "setuptools<81" wheel "cython<3.1" numpy
	$(if $(FAIRSEQ_FIRST),$(PIP_INSTALL) --no-build-isolation --no-deps $(FAIRSEQ_FIRST))
	$(PIP_INSTALL) $(TORCH)
	$(PIP_INSTALL) --no-build-isolation -c constraints.txt -e .
	$(WITHOUT_CUDA_AUDIO)
	touch $@

$(VENV)/.test: $(INSTALLED)
	$(PIP_INSTALL) --no-build-isolation -c constraints.txt -e ".[test]"
	$(WITHOUT_CUDA_AUDIO)
	touch $@

$(VENV)/.bench: $(INSTALLED)
	$(PIP_INSTALL) --no-build-isolation -c constraints.txt -e ".[bench]"
	$(WITHOUT_CUDA_AUDIO)
	touch $@

$(VENV)/.checked: $(INSTALLED)
	$(PIP_INSTALL) ruff mypy pre-commit types-PyYAML
	touch $@
