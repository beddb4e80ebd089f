# 目标自带说明：直接敲 make 即可列出
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The suite starts some hundred interpreters: each would compile everything anew
unexport PYTHONDONTWRITEBYTECODE
# What running needs, then what testing needs besides
RUN_STAMP := $(VENV)/.runs
STAMP := $(VENV)/.installed
UV_STAMP := $(VENV)/.uv
COMPILED := $(VENV)/.compiled
# uv takes seconds where pip takes a minute of CPU; where it has no wheel, or cannot (a proxy's certificate, say), pip does it
install = index=$$($(BIN)/python -m pip config list | sed -n "s/.*[.]index-url='\(.*\)'/\1/p" | head -n 1); \
	{ [ -x $(BIN)/uv ] && UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$$index} $(BIN)/uv pip install --quiet --python $(1)/bin/python $(2); } \
	|| $(BIN)/python -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check $(2)
EDITABLE := --no-build-isolation --no-deps -e .
# Many a test waits for somebody: two processes a core keep it busy; each collects anew and has servers of its own
SPREAD := $(shell n=$$((2 * $$(nproc))); echo $$((n < 8 ? n : 8)))
# Rivals need 3.12; every side runs on the newest Python of this machine
BENCH_PYTHON ?= $(shell for v in 3.14 3.13 3.12 3.11; do python$$v -c 'import ensurepip, venv' 2>/dev/null && { echo python$$v; break; }; done)
BENCH_VENV := $(VENV)/bench
BENCH_STAMP := $(BENCH_VENV)/.installed
RIVALS := tests/bench/rivals
# The generator of typed clients wants another typer than the product: an environment of its own
CLIENT := tests/contracts/client/generator
CLIENT_STAMP := $(VENV)/client/.installed
AUDIT_VENV := $(VENV)/audit
AUDIT_STAMP := $(AUDIT_VENV)/.installed
UNLOCKED := --universal --python-version 3.11 --generate-hashes --no-header --upgrade

.PHONY: run test suite demo lint format docs bench prove lock clean help system

$(UV_STAMP): requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kaguan needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-uv.txt || echo "uv has no wheel for this machine: pip installs"
	@touch $@

$(RUN_STAMP): $(UV_STAMP) requirements-local.txt deploy/requirements-build.txt pyproject.toml
	@$(call install,$(VENV),--require-hashes -r requirements-local.txt -r deploy/requirements-build.txt)
	@$(call install,$(VENV),$(EDITABLE))
	@touch $@

$(STAMP): $(UV_STAMP) requirements-dev.txt pyproject.toml
	@$(call install,$(VENV),--require-hashes -r requirements-dev.txt)
	@$(call install,$(VENV),$(EDITABLE))
	@touch $@ $(RUN_STAMP)

$(BENCH_STAMP): $(UV_STAMP) requirements-bench.txt pyproject.toml
	$(or $(BENCH_PYTHON),$(PYTHON)) -m venv --clear --without-pip $(BENCH_VENV)
	@$(call install,$(BENCH_VENV),--require-hashes -r requirements-bench.txt)
	@$(call install,$(BENCH_VENV),$(EDITABLE))
	@touch $@

$(CLIENT_STAMP): $(UV_STAMP) $(CLIENT).txt
	$(PYTHON) -m venv --clear --without-pip $(VENV)/client
	@$(call install,$(VENV)/client,--require-hashes -r $(CLIENT).txt)
	@touch $@

$(AUDIT_STAMP): $(UV_STAMP) tests/audit/tools.txt
	$(PYTHON) -m venv --clear --without-pip $(AUDIT_VENV)
	@$(call install,$(AUDIT_VENV),--require-hashes -r tests/audit/tools.txt)
	@touch $@

run: $(RUN_STAMP) ## Start everything on this machine: PostgreSQL, Valkey, API, relay, worker, mail sink, carrier simulator
	@exec $(BIN)/kaguan up

test: ## Every check and test, coverage thresholds included
	@$(MAKE) --no-print-directory --jobs=3 lint suite

suite: system $(COMPILED)
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses $(SPREAD) --dist loadscope --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --skip-empty
	$(BIN)/coverage report --include='src/kaguan/*/service.py' --fail-under=90

# 各进程一起收集：头一次要把每个用例改写、编译一遍，先由一个做完
$(COMPILED): $(STAMP)
	@$(BIN)/python -m pytest --collect-only --quiet > /dev/null || true
	@touch $@

demo: $(RUN_STAMP) ## Walk the whole flow against the stack that `make run` started, and print each timeline
	@$(BIN)/python -m kaguan.dev.demo

lint: $(STAMP) ## Format check, lint, types, architecture contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/lint-imports

format: $(STAMP) ## Rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## Renew docs/openapi.yaml, run every command that README and the guides print
	$(BIN)/kaguan openapi > docs/openapi.yaml
	$(BIN)/python -m pytest tests/e2e -k documentation

bench: $(BENCH_STAMP) ## Measure speed beside honest rivals (20 minutes); writes docs/evidence/BENCHMARKS.md
	$(BENCH_VENV)/bin/python -m tests.bench

prove: $(STAMP) ## Evidence beyond the suite: `make prove` lists it, `make prove P=chaos` makes it, WITH= passes options on
	@$(BIN)/python -m tests.prove $(P) $(WITH)

lock: $(STAMP) ## Renew the locked requirements (hashes, no addresses)
	echo 'uv>=0.13' | $(BIN)/uv pip compile $(UNLOCKED) - -o requirements-uv.txt
	$(BIN)/uv pip compile $(UNLOCKED) pyproject.toml --extra server -o requirements.txt
	$(BIN)/uv pip compile $(UNLOCKED) -c requirements.txt pyproject.toml --extra local -o requirements-local.txt
	$(BIN)/uv pip compile $(UNLOCKED) -c requirements-local.txt pyproject.toml --extra local --extra dev -o requirements-dev.txt
	$(BIN)/uv pip compile $(UNLOCKED) -c requirements-dev.txt pyproject.toml --extra local --extra dev --extra bench -o requirements-bench.txt
	$(BIN)/uv pip compile $(UNLOCKED) $(CLIENT).in -o $(CLIENT).txt
	$(BIN)/uv pip compile $(UNLOCKED:3.11=3.12) -c requirements-dev.txt $(RIVALS)/shop.in -o $(RIVALS)/shop.txt
	$(BIN)/uv pip compile $(UNLOCKED:3.11=3.12) -c requirements-dev.txt pyproject.toml $(RIVALS)/shop.in -o $(RIVALS)/kaguan.txt
	for rival in oban pgqueuer procrastinate saq awa-pg faststream-outbox; do $(BIN)/uv pip compile $(UNLOCKED:3.11=3.12) -c $(RIVALS)/shop.txt $(RIVALS)/$$rival.in -o $(RIVALS)/$$rival.txt; done
	$(BIN)/uv pip compile $(UNLOCKED) tests/audit/tools.in -o tests/audit/tools.txt
	printf 'editables>=0.5\nhatchling>=1.27\n' | $(BIN)/uv pip compile $(UNLOCKED) -c requirements-dev.txt - -o deploy/requirements-build.txt

clean: ## Remove the virtual environment and every cache (not the data in .kaguan)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.* htmlcov .import_linter_cache

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-7s %s\n", $$1, $$2}'

# The Debian programs that tests use, where root and apt are at hand
system:
	@tests/install-programs.sh
