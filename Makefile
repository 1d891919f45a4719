# Every target works alone, first, from a fresh clone: it needs Python 3.11 or newer with pip, and nothing else unless
# its line says so.
#   make demo            the whole system on this machine, with traffic, for SECONDS (60)
#   make test            all tests; they start their own servers.  ARGS="-k fold" narrows them
#   make faults          those of them that hold the reliability checks, with the table of all
#   make test-node       the tests with Node's SDKs; needs Node 20.17 or newer with npm, and a C compiler, too
#   make check           linter, types, import contracts
#   make soak            kills and lost replies for some minutes, then every count.  ARGS="--seed 2"
#   make bench           measurements
#   make statistics      the statistical bars at full size
#   make schemas         JSON Schemas from the models, and the gateway's OpenAPI document
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
VENV    ?= .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
NODE_STAMP := tests/node/node_modules/.package-lock.json
SECONDS := 60
ARGS    ?=
# One process more than there are cores, as some tests wait for others' clocks. The tests of a file stay together, for
# they share what they start; files begin in the order of the alphabet, which puts the long ones first.
PYTEST  := $(BIN)/python -m pytest -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1))) --dist loadfile \
           --no-loadscope-reorder

.DEFAULT_GOAL := install
.PHONY: install demo test faults test-node check soak bench statistics schemas constraints clean

install: $(STAMP)

# Installed again when what is to be installed changes.
$(STAMP): pyproject.toml deploy/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/trimtab demo --seconds $(SECONDS)

test: $(STAMP)
	$(PYTEST) $(ARGS)

faults: $(STAMP)
	$(PYTEST) -m reliability $(ARGS)

test-node: $(STAMP) $(NODE_STAMP)
	$(BIN)/python -m pytest tests/node $(ARGS)

$(NODE_STAMP): tests/node/package-lock.json
	cd tests/node && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

soak: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m faults.soak $(ARGS)

bench: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m benchmarks

# The bars of the methods at full size, each printed beside what was measured; a quarter of an hour.
statistics: $(STAMP)
	TRIMTAB_STATISTICS=full $(BIN)/python -m pytest tests/statistics -rP -o timeout=1800 $(ARGS)

constraints: $(STAMP)
	{ head -1 deploy/constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | grep == | sort -f; } > $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt deploy/constraints.txt

schemas: $(STAMP)
	$(BIN)/python -m trimtab.schema.documents deploy/schemas
	$(BIN)/python -m trimtab_worker.gateway deploy/schemas/openapi.json

clean:
	rm -rf $(VENV) tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
