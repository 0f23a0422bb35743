.PHONY: test lint types check

test:
	pytest

lint:
	ruff check .
	ruff format --check .

types:
	ty check

check: lint types test
