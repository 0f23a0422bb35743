.PHONY: test test-fast test-long test-oldest lint types docs check

test:
	pytest

test-fast:
	pytest -m "not slow"

test-long:
	pytest -m long

lint:
	ruff check .
	ruff format --check .

types:
	ty check

docs:
	mkdocs build --strict

check: lint types docs test

test-oldest:
	.ci/run oldest
