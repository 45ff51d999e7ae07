# Two commands are all a newcomer needs:  make demo   and   make test.
# Each makes its own virtual environment; a second call does not install again.
# What runs in many processes keeps what Python compiles, whatever the environment says.
PYTHON ?= python3
DEV    := .venv
DEMO   := .venv-demo
PIP    := -m pip -qq --disable-pip-version-check install --prefer-binary -c constraints.txt
SOURCE := $(shell find src -type f -not -path '*/__pycache__/*')
ONE    := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help demo test slow ranks device fuzz mutants lint types docs dist model modeltest quantised examples picture clean

help:        ## what there is
	@grep -hE '^[a-z]+: .*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(DEMO)/installed        ## forget real data with every headline method: a table and an HTML report
	$(DEMO)/bin/unweave demo

test: $(DEV)/installed        ## every test but those of `make slow`, `make ranks` and `make modeltest`
	$(ONE) $(DEV)/bin/python -m pytest -n 2 --dist worksteal -m "not slow and not ranks"

slow: $(DEV)/installed        ## the tests of four seconds or more: kills at any moment, two ranks, evidence over trainings, runs that are resumed
	$(ONE) $(DEV)/bin/python -m pytest -n 2 --dist loadfile -m "slow and not ranks"

fuzz: $(DEV)/installed        ## 2,000 damaged inputs for every entry (minutes)
	UNWEAVE_FUZZ=2000 $(ONE) $(DEV)/bin/python -m pytest -n 2 tests/fuzz

mutants: $(DEV)/installed        ## small errors in the core: which does no test see? (hours; ARGS="--only trust.py --sample 20")
	$(ONE) $(DEV)/bin/python scripts/mutants.py $(ARGS)

lint: $(DEV)/installed        ## ruff: rules and formatting of imports
	$(DEV)/bin/python -m ruff check .

types: $(DEV)/installed        ## mypy, strict
	$(DEV)/bin/python -m mypy

docs: $(DEV)/installed        ## the site, in build/site: every link checked, every tutorial executed
	NO_MKDOCS_2_WARNING=1 $(ONE) $(DEV)/bin/python -m mkdocs build --strict

dist: $(DEV)/installed        ## wheel and sdist, in dist/, tested from the built files
	$(ONE) $(DEV)/bin/python scripts/dist.py

model: $(DEV)/installed        ## fetch the small language model that some tests need, once
	@timeout 240 $(DEV)/bin/python scripts/smollm2.py || echo "no SmolLM2 here: its tests will be skipped"

ranks: $(DEV)/installed        ## tests of `torchrun -m unweave run`, and `evidence`: every kind of data, sharded, killed, interrupted (minutes)
	$(ONE) $(DEV)/bin/python -m pytest -m ranks tests/distributed

device: $(DEV)/installed        ## tests of what crosses to an accelerator, on a simulated one (UNWEAVE_DEVICE=cuda: on a GPU)
	$(ONE) UNWEAVE_DEVICE=$${UNWEAVE_DEVICE:-simulated} $(DEV)/bin/python -m pytest tests/device

modeltest: model        ## the tests that need that model
	$(ONE) UNWEAVE_MODEL="$$($(DEV)/bin/python scripts/smollm2.py --where)" $(DEV)/bin/python -m pytest -m model

# beside the environment: whoever has them pays for their import in every process of transformers
quantised: $(DEV)/installed        ## tests on weights in 8 and 4 bits, with torchao and bitsandbytes
	$(DEV)/bin/python $(PIP) --no-deps --upgrade --target build/quantised torchao bitsandbytes
	$(ONE) PYTHONPATH=$(CURDIR)/build/quantised$${PYTHONPATH:+:$$PYTHONPATH} $(DEV)/bin/python -m pytest -m quantised tests

examples: $(DEV)/installed        ## run every example, small
	@for example in examples/[a-z]*.py; do echo "$$example"; $(ONE) $(DEV)/bin/python -W error $$example --smoke || exit 1; done

picture: $(DEV)/installed        ## draw docs/two_gradients.svg again
	$(DEV)/bin/python scripts/picture.py

clean:        ## remove what these commands made
	rm -rf $(DEV) $(DEMO) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

# torch first and pinned, so that nothing else chooses its build
%/torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Python 3.11 or later is needed: make PYTHON=python3.12 ...")'
	@echo "$*: installing torch (about a minute)"
	@$(PYTHON) -m venv $*
	@$*/bin/python $(PIP) torch
	@touch $@

$(DEV)/installed: $(DEV)/torch pyproject.toml
	@echo "$(DEV): installing unweave and the tests' tools (about a minute)"
	@$(DEV)/bin/python $(PIP) -e '.[dev,docs,moo,vision,language,diffusion,tune,cluster]'
	@touch $@

$(DEMO)/installed: $(DEMO)/torch pyproject.toml $(SOURCE)
	@echo "$(DEMO): installing unweave (about a minute the first time)"
	@$(DEMO)/bin/python $(PIP) .
	@touch $@

.PRECIOUS: %/torch
