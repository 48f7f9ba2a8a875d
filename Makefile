# `make serve` and `make test` are all that a fresh machine needs; see README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUNDLE ?= efficientnet_lite0.bundle
PORT ?= 3000
EXTRAS := cpu,export,serve

# Without --no-compile pip would spend more than a minute on modules of which most are never imported. Those that
# a server imports are compiled after it, in seconds: each start would do it where PYTHONDONTWRITEBYTECODE is set.
COMPILE := PYTHONDONTWRITEBYTECODE= $(BIN)/python -c
COMPILED := from pinnace.cli.group import verb; from pinnace.cli.verbs import VERBS; [*map(verb, VERBS)]; \
  from pinnace.serving.bentoml.worker import preload; from pinnace.serving.settings import load_settings; \
  preload(load_settings()); import onnxruntime
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
  --constraint constraints.txt

# Three processes for two cores: a test often waits, for a server, a child or a clock.
SPREAD := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install install-dev serve test test-fast lint types unit coverage test-thin format docs locks programs \
  headers clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## Make .venv and install pinnace with what export and serve need

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' || \
	  { echo "pinnace needs Python 3.10 to 3.14; say which with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinnace[$(EXTRAS)]: several GB the first time" >&2
	PINNACE_EXTENSION=1 $(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	-$(COMPILE) '$(COMPILED)'
	touch $@

install-dev: $(VENV)/.installed-dev  ## The same, and what the tests, linters and documents need

$(VENV)/.installed-dev: $(VENV)/.installed | headers
	PINNACE_EXTENSION=1 $(PIP_INSTALL) --editable '.[$(EXTRAS),dev]'
	-$(COMPILE) '$(COMPILED); import pytest, httpx, onnx, torch'
	touch $@

$(BUNDLE)/manifest.json: | $(VENV)/.installed
	$(BIN)/pinnace export efficientnet_lite0 -o $(BUNDLE)
	$(BIN)/pinnace verify $(BUNDLE)

serve: $(VENV)/.installed $(BUNDLE)/manifest.json  ## Serve EfficientNet-Lite0 on http://localhost:3000
	exec $(BIN)/pinnace serve $(BUNDLE) --port $(PORT) --explain

test: lint types unit  ## Lint, types, and every test that needs no GPU

test-fast: lint  ## Lint and the tests that are quick, in a minute or so; one server and one export among them
	$(BIN)/python -m pytest -m "not slow" $(SPREAD) --durations 5 --durations-min 3

lint: $(VENV)/.installed-dev  ## ruff and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev  ## mypy, through the links in .typing
	MYPYPATH=.typing:tests $(BIN)/mypy -p pinnace -p support

unit: $(VENV)/.installed-dev programs  ## pytest
	$(BIN)/python -m pytest $(SPREAD)

coverage: $(VENV)/.installed-dev programs  ## pytest, and which lines it reached, in child processes too
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(SPREAD)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Where there is no torch: a Mac, a board.
THIN_TESTS := $(addprefix tests/, \
  models/test_concurrency.py clients/test_encoding.py clients/test_imports.py clients/test_sansio.py \
  integration/test_imports.py integration/test_without_linux.py latency/test_thin.py \
  models/image/test_decode.py models/image/test_decode_limits.py models/image/test_resample.py \
  serving/test_settings.py)

$(VENV)/.installed-thin: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PINNACE_EXTENSION=1 $(PIP_INSTALL) --editable '.[cpu,serve]' onnx pytest pytest-timeout hypothesis
	touch $@

test-thin: $(VENV)/.installed-thin  ## The tests of what runs without torch, in a .venv without it
	$(BIN)/python -m pytest $(THIN_TESTS)

format: $(VENV)/.installed-dev  ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pictures are taken of a running server, by hand; see docs/make_page_picture.py.
docs: $(VENV)/.installed-dev  ## Write the generated parts of docs/ again
	@for script in $(filter-out %_picture.py,$(wildcard docs/make_*.py)); do \
	  echo "$(BIN)/python $$script"; $(BIN)/python $$script || exit 1; \
	done

# What the package of each flavour installs, with hashes, for all platforms; asks the index.
lock = uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header \
  --constraint constraints.txt pyproject.toml --extra serve --extra sign
locks:  ## Write serving/packaging/locked/ again, with the versions of constraints.txt; needs uv
	@for pair in cpu:cpu gpu:cuda; do \
	  file=serving/packaging/locked/$${pair#*:}.txt; \
	  { echo "# What a bento or image for $${pair#*:} installs: written by \`make locks\`, with the versions of constraints.txt."; \
	    $(lock) --extra $${pair%:*}; } > $$file.new && mv $$file.new $$file || exit 1; \
	done

# Debian's packages start servers, of OpenSSH on port 22 and Prometheus on 9090, so these two are installed by CI and
# where a policy forbids that, as in containers.
PROGRAMS := "chromium:chromium fonts-liberation" node:nodejs curl:curl ssh:openssh-client \
  $(if $(CI)$(wildcard /usr/sbin/policy-rc.d),/usr/sbin/sshd:openssh-server promtool:prometheus)

programs:  ## Programs for the tests (Chromium, Node.js, curl, ssh and others), from Debian where they are missing
	@missing=""; \
	for pair in $(PROGRAMS); do \
	  command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	test -n "$$missing" || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing" >&2; \
	  apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null && \
	    exit 0; \
	fi; \
	echo "missing:$$missing; what needs them is not tested (on Debian: apt-get install$$missing)" >&2

# A C compiler that is missing is told by what it would have made.
headers:  ## Headers of libjpeg-turbo for the compiled module, from Debian's package where they are missing
	@command -v cc >/dev/null || exit 0; \
	found() { printf '#include <stdio.h>\n#include <jpeglib.h>\n' | cc -E - >/dev/null 2>&1; }; \
	found && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing libjpeg-dev" >&2; \
	  apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libjpeg-dev >/dev/null && \
	    exit 0; \
	fi; \
	echo "missing: libjpeg-dev; JPEGs are decoded whole, and the decoder of windows is not tested" \
	  "(on Debian: apt-get install libjpeg-dev)" >&2

clean:  ## Remove what was built, but not .venv
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
