# Everything one does with Spacelane's source. `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# The benchmarks have an environment of their own, of Debian's Python where it will do: as the servers that ours is
# compared with it is what most people run, and built with more care than what one builds from source by default.
DEBIAN := /usr/bin/python3
BENCH_PYTHON = $(shell $(DEBIAN) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(DEBIAN) || echo $(PYTHON))
BENCH_BIN := .venv-bench/bin
BENCH_STAMP := .venv-bench/.installed

# No clock, no files, no network: nothing that a test could not reach, so every branch is tested.
PURE := server/doors/h2/fields.py,server/doors/h2/frames.py,server/doors/h2/hpack.py,server/doors/head.py,server/doors/log_format.py,server/edge/codings.py,server/edge/conditions.py,server/edge/digests.py,server/edge/header_rules.py,server/edge/hosts.py,server/edge/media_types.py,server/edge/paths.py,server/edge/path_index.py,server/edge/patterns.py,server/edge/preview_access.py,server/edge/preview_hosts.py,server/edge/redirect_checks.py,server/edge/redirect_index.py,server/edge/redirect_rules.py,server/edge/redirects.py,server/edge/request.py,server/edge/response.py,server/edge/rule_lines.py,server/edge/visitor.py,server/edge/widgets.py

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check bench bench-deps bench-smoke clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## make the virtual environment, .venv

demo: $(STAMP)  ## serve a finished site at http://demo.localhost:8080/
	@exec $(BIN)/spacelane demo

serve: $(STAMP)  ## serve, with the data in .spacelane
	@exec $(BIN)/spacelane serve

test: $(STAMP)  ## run the whole test suite
	$(BIN)/python -m pytest -n auto

check: $(STAMP)  ## format, lint, types, tests, coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --cov --cov-report=term
	$(BIN)/coverage report --include=$(PURE) --fail-under=100

bench: $(BENCH_STAMP)  ## compare with other servers: an hour, then a new table in the README
	$(BENCH_BIN)/python -m benchmarks
	$(BENCH_BIN)/python -m benchmarks report

bench-deps:  ## install those servers and what drives them (Debian, as root)
	benchmarks/peers/install.sh
	@$(MAKE) --no-print-directory $(BENCH_STAMP)

bench-smoke: $(BENCH_STAMP)  ## see whether the comparison works here: a few minutes, no figures
	$(BENCH_BIN)/python -m benchmarks --quick

clean:  ## remove what the other targets made; published sites stay
	rm -rf .venv .venv-bench .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

$(STAMP): pyproject.toml constraints.txt
	$(call install,$(PYTHON),.venv,dev)

$(BENCH_STAMP): pyproject.toml constraints.txt
	$(call install,$(BENCH_PYTHON),.venv-bench,bench)

# With which Python, where to, and which extra. The build backend is installed first and isolation is off, so that
# constraints.txt holds for it too.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
define install
	@$(1) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Spacelane needs Python 3.11 or later, and this is " + sys.version.split()[0] + ": try make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(1) -m venv $(2)
	$(2)/bin/python $(PIP_INSTALL) hatchling
	$(2)/bin/python $(PIP_INSTALL) --no-build-isolation -e '.[$(3)]'
	@touch $@
endef
