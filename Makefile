.DEFAULT_GOAL := help
.PHONY: help check e2e docs bench ci

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

check:  ## lint, check format and types, run the unit tests
	ruff check .
	ruff format --check .
	mypy
	pytest -n 2 --dist loadgroup

e2e:  ## run the end-to-end tests
	pytest -n 2 --dist loadgroup -m e2e

docs:  ## check that every block of README and docs runs
	pytest -n 2 -m "" tests/e2e/test_docs.py

bench:  ## measure speed and memory, the quick run
	python -m benchmarks --quick

ci:  ## run all checks in a fresh environment, and install the built packages
	bash .ci/run
