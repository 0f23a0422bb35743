.PHONY: test test-fast test-oldest lint types docs check

test:
	pytest

test-fast:
	pytest -m "not slow"

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
