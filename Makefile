# Everything here runs in an environment of its own, $(VENV), which each target prepares as far as it needs.
VENV ?= .venv
PYTHON ?=
ARGS ?=
CONSTRAINED_PYTHONS := 3.12 3.13 3.14

BIN := $(abspath $(VENV))/bin
export VENV PYTHON
export PATH := $(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo ui env env-dev env-bench test test-services services lint format docs bench constraints check-extras clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  VENV=dir uses another environment; PYTHON=path builds it with another interpreter; ARGS=... goes to pytest,"
	@echo "  the demo or the benchmarks, for example: make test ARGS='tests/unit -x'"

demo: env ## Run the retail pipeline on real data under a real Airflow, and reconcile the totals
	@$(BIN)/python -m airflow_provider_lakehouse.demo run $(ARGS)

ui: env ## Leave Airflow running with the reference DAGs, and print its address
	@$(BIN)/python -m airflow_provider_lakehouse.demo ui $(ARGS)

env: ## Prepare the environment for the demo
	@scripts/bootstrap.sh demo

env-dev: ## Prepare the environment for tests and checks
	@scripts/bootstrap.sh dev

env-bench: ## Prepare the environment for the benchmarks
	@scripts/bootstrap.sh bench

test: env-dev ## Run the tests that need no service
	@$(BIN)/python -m pytest $(ARGS)

services: env-dev ## Install the servers that the service tests start
	@if [ -f tests/services/install.sh ]; then bash tests/services/install.sh; fi

test-services: env-dev ## Run the tests against real servers; LAKEHOUSE_REQUIRE_SERVICES=1 forbids skipping
	@$(BIN)/python -m pytest tests/services $(ARGS)

lint: env-dev ## Check style, formatting, types and the direction of imports
	@failed=; for check in 'ruff check --output-format concise .' 'ruff format --check .' mypy 'lint-imports --no-logo'; do \
	  $(BIN)/$$check || failed="$$failed [$$check]"; \
	done; test -z "$$failed" || { echo "lint failed:$$failed" >&2; exit 1; }

format: env-dev ## Apply what ruff can repair by itself
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

docs: env-dev ## Run the examples in docstrings and in docs/
	@$(BIN)/python -m pytest --doctest-modules airflow_provider_lakehouse $(wildcard docs) $(ARGS)

bench: env-bench ## Measure against other libraries and against the limits of the machine
	@$(BIN)/python -m benchmarks $(ARGS)

constraints: ## Renew the tested set of versions after a change of dependencies (UPGRADE=1: newest of everything)
	@test -x $(BIN)/uv || scripts/bootstrap.sh dev  # one that is there may lack what was just added
	@for version in $(CONSTRAINED_PYTHONS); do \
	  echo "constraints-$$version.txt"; \
	  $(BIN)/uv pip compile pyproject.toml --all-extras --python-version $$version $(if $(UPGRADE),--upgrade) \
	    --generate-hashes --no-annotate --no-emit-index-url \
	    --custom-compile-command 'make constraints' --quiet --output-file constraints/constraints-$$version.txt || exit 1; \
	done

check-extras: env-dev ## Prove that every extra installs alone, with today's releases, and does what it promises
	@$(BIN)/python scripts/check_extras.py $(ARGS)

clean: ## Remove what tests, checks and the demo leave behind; the environment stays
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks .demo
	@find $(wildcard airflow_provider_lakehouse benchmarks dags docs plugins tests) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the environment too
	@rm -rf $(VENV)
