# demo, test, check, live, bench and chaos make their virtual environment by themselves; `make help`.

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
PYTEST := $(BIN)/python -m pytest -q

# The first Python that is new enough and can make a virtual environment, else one that is new
# enough. A name on the PATH proves nothing: a pyenv shim may only say that it is not installed.
PYTHON ?= $(shell \
	for modules in sys,venv,ensurepip sys; do \
		for name in python3.13 python3.12 python3.11 python3; do \
			if $$name -c "import $$modules; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; \
			then echo $$name; exit; fi; \
		done; \
	done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check live bench chaos docs clean

help:
	@echo "make demo    a complete tour of svcctl in a temporary folder"
	@echo "make test    the tests that need nothing but Python"
	@echo "make check   format, lint, types, layers"
	@echo "make live    the tests against real servers (web servers, PostgreSQL, SCIM, LDAP, MQTT)"
	@echo "make bench   the benchmarks"
	@echo "make chaos   kills, full disks and overlaps: a short version of docs/reliability.md"
	@echo "make docs    the pages that say what the code says"
	@echo "make clean   remove what make made"
	@echo
	@echo "PYTHON=python3.12 chooses the Python (3.11 or newer), VENV=DIR the virtual environment;"
	@echo "ARGS='-k wiki' goes to pytest, ARGS=--pause to the demo, ARGS=startup to the benchmarks,"
	@echo "ARGS='crash --runs 500' to make chaos."

demo: $(VENV)/.demo
	@$(BIN)/svcctl demo $(ARGS)

test: $(VENV)/.dev
	@$(PYTEST) -n auto --dist worksteal -m "not live and not postgres" $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check --quiet . || { echo "mend it with: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports --no-logo >$(VENV)/layers.txt 2>&1 || { cat $(VENV)/layers.txt; exit 1; }
	@echo "check: format, lint, types and layers are in order"

live: $(VENV)/.dev
	@$(PYTEST) -rs -m "live or postgres" $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: $(VENV)/.dev
	@$(BIN)/python -m chaos --short $(ARGS)

docs: $(VENV)/.dev
	@$(BIN)/python docs/generate.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find svcctl tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo: pyproject.toml $(BIN)/python
	@echo "installing svcctl into $(VENV)"
	@$(PIP) -e '.[htpasswd]'
	@touch $@

$(VENV)/.dev: pyproject.toml examples/svcctl-mosquitto/pyproject.toml $(BIN)/python
	@echo "installing svcctl and its development tools into $(VENV)"
	@$(PIP) -e '.[dev]' -e examples/svcctl-mosquitto
	@touch $@ $(VENV)/.demo

# Makes the environment, or says what is missing and the line that installs it.
$(BIN)/python:
	@python="$(PYTHON)"; \
	stop() { echo "error: $$1" >&2; echo "install it with: $$2" >&2; exit 1; }; \
	has() { command -v "$$1" >/dev/null 2>&1; }; \
	if [ -z "$$python" ]; then \
		what="no Python 3.11 or newer was found"; \
		if has apt-get; then stop "$$what" "sudo apt-get install -y python3 python3-venv"; fi; \
		if has dnf; then stop "$$what" "sudo dnf install -y python3.12"; fi; \
		if has apk; then stop "$$what" "sudo apk add python3"; fi; \
		if has brew; then stop "$$what" "brew install python@3.13"; fi; \
		stop "$$what" "https://www.python.org/downloads/, then: make PYTHON=/path/to/python3"; \
	fi; \
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "error: $$python is not Python 3.11 or newer" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
		what="$$python has no venv module"; \
		version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		if has apt-get; then stop "$$what" "sudo apt-get install -y python$$version-venv"; fi; \
		stop "$$what" "your system's package of Python's venv and ensurepip modules"; \
	fi; \
	"$$python" -m venv $(VENV)
