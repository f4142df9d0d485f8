# As an ordinary user: the virtual environment is made if need be, then the target runs.
# As root: scripts/as-user installs packages, and runs the same target as an unprivileged user.

TARGETS := all test unit lint bench fuzz setup
.PHONY: $(TARGETS) clean

ifeq ($(shell id -u),0)

$(TARGETS):
	@scripts/as-user $(MAKE) --no-print-directory $@

else

all: setup
	.venv/bin/rbuild all

test: lint
	.venv/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

unit: setup
	.venv/bin/pytest tests/unit

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup
	.venv/bin/python benchmarks/run.py

# Ten minutes over all targets, or FUZZ_SECONDS.
fuzz: setup
	@scripts/venv fuzz
	.venv/bin/python tests/fuzz/run.py

setup:
	@scripts/packages
	@scripts/venv

endif

clean:
	rm -rf .venv out .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
