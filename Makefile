# The words of this project. `make` alone prints them.
.DEFAULT_GOAL := help
.PHONY: help demo test check sync lab serve bench clean
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE

help: ## print this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-6s %s\n", $$1, $$2}'

demo: .venv/research ## the whole path on SYNTHETIC data; DATA=file [SYMBOL=BTC-USD] [INTERVAL=1h] for a real file
	@$(BIN)/rrr demo $(if $(DATA),--data "$(DATA)") $(if $(SYMBOL),--symbol "$(SYMBOL)") $(if $(INTERVAL),--interval "$(INTERVAL)")

test: .venv/dev .venv/chromium .venv/redis ## all tests with coverage, then all notebooks in real kernels
	@$(BIN)/python -m pytest tests -n logical --maxprocesses 8 --dist loadfile --cov=rrr --cov-report=term:skip-covered
	@$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --nbval-lax --nbval-cell-timeout=300 nbs --ignore=nbs/jobs

check: .venv/dev ## lint, formatting, and the promises of the tree
	@$(BIN)/ruff check nbs tests && $(BIN)/ruff format --check nbs tests
	@$(BIN)/python -m pytest tests/test_tree.py

sync: .venv/dev ## notebooks to package: export and clean
	@PATH="$(CURDIR)/$(BIN):$$PATH"; nbdev-export && nbdev-clean

lab: .venv/research ## JupyterLab on the notebooks
	@$(BIN)/rrr lab

serve: .venv/research ## the API on http://127.0.0.1:8000
	@$(BIN)/rrr serve

bench: .venv/research ## all benchmarks, beside their peers
	@$(BIN)/rrr bench

clean: ## remove caches and build output; data/, reports/ and .venv stay
	@find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print | xargs rm -rf
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage

# Set-up: a virtual environment from the pinned constraints. uv does not read pip's configuration, so pip's own
# find-links (a place for local wheels, if there is one) is handed on. A CPU build of torch is enough for `.[ml]`.
.venv/research .venv/dev: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Installing the $(@F) environment into .venv ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check uv
	@links="$$($(BIN)/pip config list 2>/dev/null | sed -nE "s/.*find-links='(.*)'/\1/p" | sort -u | paste -sd, -)"; \
	 $${links:+env UV_FIND_LINKS="$$links"} $(BIN)/uv pip install -q --compile-bytecode -p $(BIN)/python -c constraints.txt -e '.[$(@F)]'
	@$(BIN)/python -c 'from rrr.backtest.warm import warm; warm(print)'
	@touch $@ $(if $(filter %/dev,$@),.venv/research)

# The tests open every page in a real browser.
.venv/chromium:
	@command -v chromium >/dev/null || { echo "Installing Chromium for the browser tests ..."; \
	 sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	 if command -v apt-get >/dev/null; then $$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium fonts-dejavu-core >/dev/null; \
	 else echo "Please install Chromium so that 'chromium' is on the PATH, then run make test again."; exit 1; fi; }
	@touch $@

# The tests start their own Redis; on Linux with Python 3.11 the dev environment brings one.
.venv/redis: .venv/dev
	@PYTHONPATH=tests $(BIN)/python -c 'import sys, redis_server; sys.exit(not redis_server.binary())' || { echo "Installing Redis for the cache tests ..."; \
	 sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	 if command -v apt-get >/dev/null; then $$sudo apt-get update -qq && $$sudo apt-get install -y -qq redis-server >/dev/null; \
	 else echo "Please install Redis so that 'redis-server' is on the PATH, then run make test again."; exit 1; fi; }
	@touch $@
