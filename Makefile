.PHONY: help test test-fast test-long test-oldest lint style types schemas docs docs-serve commands build check

help:
	@grep -E '^[a-z-]+:' Makefile | cut -d: -f1

test:
	pytest

test-fast:
	pytest -m "not slow"

test-long:
	pytest -m long

lint:
	ruff check .
	ruff format --check .

style:
	ruff check --fix .
	ruff format .

types:
	ty check

schemas:
	python tools/check_schemas.py

docs:
	zensical build --strict

docs-serve:
	zensical serve

commands:
	python tools/write_commands.py

build:
	python -m build
	twine check --strict dist/*

check: lint types docs test

test-oldest:
	.ci/run oldest
