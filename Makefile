# The Python to work with: the one of the active virtual environment, or `make PYTHON=python3.13 …`.
PYTHON ?= $(shell command -v python || command -v python3 || echo python3)
ARGS   ?=
# Some environments forbid Python to keep its bytecode. Then each process that the tests start would compile everything,
# and each that runs tests would rewrite all their assertions.
export PYTHONDONTWRITEBYTECODE =
# How many processes share the tests: `auto` is two more than there are cores, since some tests only wait; 0 is none.
WORKERS ?= auto
IN_PARALLEL = --numprocesses $(WORKERS) --no-loadscope-reorder

# What speaks gRPC with a real server is tested on both engines, but for what is marked with `one_engine`. test_copies and
# test_store are about files; the terminal program on a screen knows the server only through the library, as the one in
# a pipeline does.
OTHER_DOORS = copies http pages relays slow_websockets store tcp websocket
OVER_GRPC = $(filter-out $(OTHER_DOORS:%=tests/integration/test_%.py),$(wildcard tests/integration/test_*.py)) \
	tests/client/test_chat.py tests/client/test_slow_line.py tests/client/test_sync.py \
	tests/promises/test_storm.py tests/terminal/test_pipeline.py tests/terminal/test_ends.py tests/bench/test_bench.py

# What is said over a door is the same with TLS.
OVER_TLS = $(patsubst %,tests/integration/test_%.py,broadcast broker_faults call_errors errors history leftovers pages secrets \
	requests slow_clients slow_websockets stopping websocket)

# These are about the clients as programs, or play the server themselves; slow lines take minutes.
OF_CLIENTS = endings plain program readme slow_lines
INTEROP_ON_BOTH = $(filter-out $(OF_CLIENTS:%=interop/test_%.py),$(wildcard interop/test_*.py))

SCRIPTS = $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("scripts"))')

.DEFAULT_GOAL := help
.PHONY: help install protos protos-check run client test lowest interop soak lint format types cover bench bench-full plots build try-wheel picture clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install:  ## install the project and its development tools into the Python in use, if they are not there
	@$(PYTHON) tools/install.py

protos: install  ## generate the stubs from protos/
	$(PYTHON) tools/protos.py

protos-check: install  ## fail if the committed stubs are stale
	$(PYTHON) tools/protos.py --check

run: install  ## run the server (make run ARGS="--port 0")
	$(PYTHON) -m bcast_grpc.server $(ARGS)

client: install  ## run the terminal client (make client ARGS="--name ana")
	$(PYTHON) -m bcast_grpc.client $(ARGS)

test: lint types  ## run all checks: lint, types, all tests, those over gRPC on the other engine, and some over TLS
	$(PYTHON) -m pytest $(IN_PARALLEL) $(ARGS)
	$(PYTHON) -m pytest $(IN_PARALLEL) --grpc-engine other $(OVER_GRPC) $(ARGS)
	$(PYTHON) -m pytest $(IN_PARALLEL) --tls $(OVER_TLS) $(ARGS)

lowest: install  ## run the integration tests with the oldest versions that pyproject.toml allows
	$(PYTHON) tools/lowest.py $(IN_PARALLEL) tests/integration --ignore tests/integration/test_slow_lines.py $(ARGS)

interop: install  ## build the clients in examples/, and test each against all others (needs their languages' tools)
	$(PYTHON) -m pytest $(IN_PARALLEL) interop/test_readme.py $(ARGS)
	$(PYTHON) -m pytest $(IN_PARALLEL) interop --ignore interop/test_readme.py $(ARGS)
	$(PYTHON) -m pytest $(IN_PARALLEL) --grpc-engine other $(INTEROP_ON_BOTH) $(ARGS)

soak: install  ## break everything at random for minutes, and check every promise (ARGS="--minutes 5 --seed 7")
	$(PYTHON) -m tests.promises $(ARGS)

lint: protos-check  ## check the style of code and contract, and that the stubs are fresh
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(SCRIPTS)/buf lint protos
	$(SCRIPTS)/buf breaking protos --against released

format: install  ## format the code
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types: install  ## check the types
	$(PYTHON) -m mypy

cover: install  ## run the tests and show what they do not reach
	$(PYTHON) -m coverage erase
	$(PYTHON) -m coverage run -m pytest $(IN_PARALLEL) $(ARGS)
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

bench: install  ## measure all figures, and those of the peers, in eleven minutes (needs Go)
	$(PYTHON) -m benchmarks $(ARGS)

bench-full: install  ## the same, with ordinary clients' latency and growth curves, in half an hour, and draw them (ARGS=--resume continues)
	$(PYTHON) -m benchmarks --full $(ARGS); code=$$?; $(MAKE) plots && exit $$code

plots: install  ## draw docs/plots/ from what bench-full found
	@$(PYTHON) -c 'import matplotlib' 2>/dev/null || $(PYTHON) -m pip install --quiet --editable '.[bench]'
	$(PYTHON) -m benchmarks.plots

build: install  ## build the sdist and the wheel into dist/
	$(PYTHON) -m build

try-wheel: install  ## build the wheel, install it into a clean environment and send a message through it
	$(PYTHON) tools/try_wheel.py

picture: install  ## make the pictures in the README from real runs
	$(PYTHON) tools/picture.py
	$(PYTHON) -m tests.page.picture

clean:  ## delete everything that was built
	rm -rf build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	-git clean -fdXq examples interop
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
