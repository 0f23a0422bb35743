.PHONY: test test-oldest lint types check

test:
	pytest

lint:
	ruff check .
	ruff format --check .

types:
	ty check

check: lint types test

test-oldest:
	.ci/run oldest
