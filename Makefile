# Everything a person or CI does here. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo test quick rounds rounds-sdk image bench lint format root recipes docs package clean

help: ## Say what can be made
	@echo "Sinfonia, serverless. Two commands do everything: 'make demo' and 'make test'."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## Install what the project needs: Debian packages (as root), .venv, helm
	@infra/setup/install

demo: setup ## Run the whole job on this machine: a root, three cloudlets, a device (root rights needed)
	@$(BIN)/python -m tests.demo

test: setup lint ## Check everything: lint, unit, contract, flow and live tests (root rights needed for live)
	@infra/setup/install --engines
	@$(BIN)/python -m pytest -n 2 --dist loadscope

quick: ## Run the tests that need no root and no tools, after 'make setup'
	@$(BIN)/python -m pytest -m "not live" -q

rounds: setup ## Kill a real agent 100 times on the cluster of SINFONIA_TEST_KUBECONFIG, and see what is left
	@$(BIN)/python -m tests.rounds 100

rounds-sdk: setup ## Kill the device SDK 200 times in the middle of its work, and see what is left
	@$(BIN)/python -m tests.rounds_sdk 200

image: setup ## Build the agent's image by its Containerfile on a Debian made here, and try it (needs mmdebstrap)
	@$(BIN)/python -m tests.image

bench: setup ## Measure, and print each figure with what it is compared to
	@infra/setup/install --engines
	@$(BIN)/python -m tests.benchmarks

lint: setup ## Check style, types and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=cloud $(BIN)/lint-imports

format: setup ## Put the code into the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

root: setup ## Run a local root on 127.0.0.1:8080 with the recipes of infra/recipes
	@$(BIN)/python -m cloud.local_root --recipes infra/recipes

docs: setup ## Write the contract as a page for developers: .build/docs/index.html
	@infra/setup/install --docs
	@$(BIN)/python -m infra.docs .cache/redoc/package/bundles/redoc.standalone.js .build/docs/index.html

package: setup ## Build the zip and template that deploy the root to AWS, into .build/cloud
	@infra/setup/package .build/cloud

clean: ## Remove what was built; .venv and the caches of downloads too
	@rm -rf $(VENV) .build .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
