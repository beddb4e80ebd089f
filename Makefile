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
# uv takes seconds where pip takes a minute of CPU; where it has no wheel, or cannot (a proxy's certificate, say), pip does it
install = index=$$($(BIN)/python -m pip config list | sed -n "s/.*[.]index-url='\(.*\)'/\1/p" | head -n 1); \
	{ [ -x $(BIN)/uv ] && UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$$index} $(BIN)/uv pip install --quiet --python $(1)/bin/python $(2); } \
	|| $(BIN)/python -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check $(2)
EDITABLE := --no-build-isolation --no-deps -e .
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

.PHONY: help run prove model simulate mutate demo mail-relay test system lint format bench chaos chaos-targets power contract queries docs-check wheel-check screenshots lock clean drill checklist image-check sbom failover restore-drill upgrade-check pooler fuzz fuzz-redis client audit injection

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

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

prove: system $(STAMP) ## Evidence: P=rigs (our own test rigs: broken builds they must condemn, calibrations; 5 minutes); P=fresh (empty Debian 12 and 13, one core, busy, quiet; hours; as root) goes on where it stopped, PART=debian12-user plays one part; writes docs/evidence/
	$(if $(filter rigs,$(P)),$(BIN)/python -m pytest -m rigs --numprocesses 2 --dist loadfile,$(BIN)/python -m tests.prove $(P) $(if $(PART),--part $(PART)))

demo: $(RUN_STAMP) ## Walk the whole flow against the stack that `make run` started, and print each timeline
	@$(BIN)/python -m kaguan.dev.demo

lint: $(STAMP) ## Format check, lint, types, architecture contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/lint-imports

system: ## Install the Debian programs that tests use (Chromium, Prometheus, PgBouncer, Spin, fuse3) where root and apt are at hand
	@tests/install-programs.sh

client: $(STAMP) $(CLIENT_STAMP) ## A typed client from docs/openapi.yaml, checked by mypy and used against a real server
	$(BIN)/python -m pytest tests/contracts/test_typed_client.py

test: ## Every check and test, coverage thresholds included
	@$(MAKE) --no-print-directory --jobs=3 system lint $(CLIENT_STAMP)
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses 4 --dist loadscope --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --skip-empty
	$(BIN)/coverage report --include='src/kaguan/*/service.py' --fail-under=90

format: $(STAMP) ## Rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BENCH_STAMP) ## Measure speed beside honest rivals (15 minutes); writes docs/BENCHMARKS.md and docs/bench/
	$(BENCH_VENV)/bin/python -m tests.bench

chaos: system $(STAMP) ## The long fault campaign (50 minutes): real processes, real signals, an independent checker, broken builds it must condemn; writes docs/RELIABILITY.md
	$(BIN)/python -m tests.chaos --write docs/RELIABILITY.md

chaos-targets: $(STAMP) ## Every reliability target at full size (20 minutes); writes docs/RELIABILITY.md
	$(BIN)/python -m tests.chaos --scenario all --write docs/RELIABILITY.md

power: $(STAMP) ## Power cuts under load (7 minutes): PostgreSQL and Valkey on a file system that forgets what was not synced, 24 cuts; writes docs/RELIABILITY.md
	$(BIN)/python -m pytest tests/power
	$(BIN)/python -m tests.chaos --power --kinds 断电 --tasks 7200 --faults 24 --rate 20 --no-controls --write docs/RELIABILITY.md

failover: $(STAMP) ## A real primary and standby, promoted again and again under load: synchronous, then losing its tail; two primaries; no standby (8 minutes); writes docs/RELIABILITY.md
	$(BIN)/python -m pytest tests/integration/database/test_failover.py tests/integration/database/test_standby_away.py tests/integration/database/test_two_primaries.py tests/failover/history_cuts.py tests/failover/sentinel_fleet.py tests/failover/standbys.py tests/failover/two_primaries.py tests/failover/fixed_reconnect.py
	$(BIN)/python -m tests.chaos --standby sync --tasks 2500 --faults 24 --rate 15 --write docs/RELIABILITY.md
	$(BIN)/python -m tests.chaos --standby async --tasks 2500 --faults 24 --rate 15 --write docs/RELIABILITY.md

checklist: $(STAMP) ## The rows of docs/FAULTS.md that name a threshold, as they are written, at full size, on a quiet machine (20 minutes); writes the figures there
	$(BIN)/python -m tests.checklist --write docs/FAULTS.md

drill: $(STAMP) ## Ten faults against a running stack, one at a time: when do console, /health and doctor notice, and do they name the cause (12 minutes)
	$(BIN)/python -m tests.drill

model: system $(STAMP) ## The protocol's model, large sizes included: it holds, every part taken away has a counterexample
	$(BIN)/python -m tests.model
	$(BIN)/python -m tests.support.judging

simulate: $(STAMP) ## The real relay and workers under thousands of random interleavings (EXAMPLES=5000, SIMULATE_SEED=n replays)
	SIMULATE_EXAMPLES=$(or $(EXAMPLES),5000) $(BIN)/python -m pytest tests/integration/delivery/test_simulation.py -k interleaving --timeout 0 --numprocesses 2 --dist load

mutate: $(STAMP) ## Break the protocol's code in many ways; the tests must notice
	$(BIN)/python -m tests.model.mutate

contract: $(STAMP) ## Every operation against its document, every carrier dialect against its contract; writes docs/CONTRACT.md, docs/CONTRACT-CARRIERS.md
	KAGUAN_WRITE_CONTRACT=1 $(BIN)/python -m pytest tests/contracts/test_schemathesis.py tests/contracts/test_carriers*.py

fuzz: $(STAMP) ## Malformed HTTP over raw sockets and clients that never finish: no 5xx, nothing smuggled, memory flat (3 minutes; SEED=n replays)
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED))

fuzz-redis: $(STAMP) ## Every kind of lie in every Redis key that is used, beside work, on a real stack: nothing lost or undone, ready again within 15 s (20 minutes; SEED=n replays)
	$(BIN)/python -m tests.fuzz.lies $(SEED)

audit: $(AUDIT_STAMP) ## bandit, semgrep with our rules, a search of the tree for secrets, known vulnerabilities of what is locked (fails where the service of pip-audit is out of reach); what they say stays in dist/audit
	mkdir -p dist/audit
	set -o pipefail; $(AUDIT_VENV)/bin/bandit --quiet --recursive --severity-level medium src migrations deploy examples | tee dist/audit/bandit.txt
	set -o pipefail; $(AUDIT_VENV)/bin/semgrep scan --metrics off --disable-version-check --quiet --error --config tests/audit/semgrep.yaml src migrations deploy examples | tee dist/audit/semgrep.txt
	git ls-files -z | xargs -0 $(AUDIT_VENV)/bin/detect-secrets-hook --baseline tests/audit/secrets.json
	set -o pipefail; $(AUDIT_VENV)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.txt | tee dist/audit/pip-audit.txt

injection: $(STAMP) $(AUDIT_STAMP) ## sqlmap at every route of a real API, and at a service with a hole that it must find (10 minutes); what it says stays in dist/sqlmap
	$(BIN)/python -m tests.audit $(AUDIT_VENV)/bin/sqlmap

mail-relay: $(STAMP) ## Mail of every size through a real Postfix (installed from Debian, as root; private, on loopback): clear, STARTTLS, TLS; cut lines too
	$(BIN)/python -m tests.mta

queries: $(STAMP) ## Every list on a million tasks, counted in blocks; writes docs/QUERIES.md
	KAGUAN_LARGE_ROWS=500000 KAGUAN_WRITE_QUERIES=1 $(BIN)/python -m pytest tests/integration/plans/test_query_plans.py -k few_blocks --timeout 0

wheel-check: $(STAMP) ## The wheel in a really empty environment: everything installed anew from the locked requirements (needs the registry)
	KAGUAN_WHEEL_ENVIRONMENT=empty $(BIN)/python -m pytest tests/e2e/test_wheel.py --timeout 900

docs-check: $(STAMP) ## Run every command that README and the guides print
	$(BIN)/python -m pytest tests/e2e -k documentation

restore-drill: $(STAMP) ## Base backup, archived WAL, load, disaster, restore to a point in time beside the old Redis: what became of every mail (1 minute; FLUSH=--flush empties Redis first)
	$(BIN)/python -m tests.deploy.restore $(FLUSH)

upgrade-check: $(STAMP) ## The wheels of 0.2.0 and of this tree side by side under load: up, down, the schema too, up again; broken releases it must condemn; writes docs/UPGRADES.md (8 minutes)
	$(BIN)/python -m tests.deploy.upgrade --write docs/UPGRADES.md

image-check: $(STAMP) ## Build the image from an empty Debian and run its processes read-only against real servers; writes dist/kaguan.debian.txt (root, Debian; 6 minutes)
	$(BIN)/python -m tests.deploy

sbom: $(STAMP) ## Write dist/kaguan.cdx.json: what the production image installs from PyPI, with hashes (CycloneDX)
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o dist/kaguan.cdx.json requirements.txt

screenshots: system $(STAMP) ## Renew the pictures in README and METRICS from the browser and Prometheus tests
	KAGUAN_SCREENSHOTS=1 $(BIN)/python -m pytest tests/e2e/test_browser.py tests/e2e/test_prometheus.py
	mkdir -p docs/images && cp .artifacts/readme-*.png .artifacts/trace.png .artifacts/grafana-series.png docs/images/
	cp .artifacts/alerts.json docs/alerts-fired.json

lock: $(STAMP) ## Renew the locked requirements (hashes, no addresses)
	echo 'uv>=0.13' | $(BIN)/uv pip compile $(UNLOCKED) - -o requirements-uv.txt
	$(BIN)/uv pip compile $(UNLOCKED) pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile $(UNLOCKED) -c requirements.txt pyproject.toml --extra local -o requirements-local.txt
	$(BIN)/uv pip compile $(UNLOCKED) -c requirements-local.txt pyproject.toml --extra local --extra dev -o requirements-dev.txt
	$(BIN)/uv pip compile $(UNLOCKED) -c requirements-dev.txt pyproject.toml --extra local --extra dev --extra bench -o requirements-bench.txt
	$(BIN)/uv pip compile $(UNLOCKED) $(CLIENT).in -o $(CLIENT).txt
	for rival in oban pgqueuer procrastinate; do $(BIN)/uv pip compile $(UNLOCKED:3.11=3.12) $(RIVALS)/$$rival.in -o $(RIVALS)/$$rival.txt; done
	$(BIN)/uv pip compile $(UNLOCKED) tests/audit/tools.in -o tests/audit/tools.txt
	printf 'editables>=0.5\nhatchling>=1.27\n' | $(BIN)/uv pip compile $(UNLOCKED) -c requirements-dev.txt - -o deploy/requirements-build.txt

# Left out: what asks no database (unit, architecture, model, golden, fuzz, mta), simulation (it steps each connection), and what starts
# servers of its own to kill, measure or deploy them (chaos, failover but for the pooler, power, drill, bench, attacks, deploy, the rest of e2e).
pooler: system $(STAMP) ## Most of the suite behind a stock PgBouncer in transaction mode; the pooler restarted under load
	TEST_POOLER=1 $(BIN)/python -m pytest tests/failover/pooler_restart.py tests/integration tests/contracts tests/migrations tests/e2e/test_trace.py tests/e2e/test_fault_outage.py --numprocesses 2 --dist loadfile

clean: ## Remove the virtual environment and every cache (not the data in .kaguan)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.* htmlcov .import_linter_cache
