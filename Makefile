# As an ordinary user: the virtual environment is made if need be, then the target runs.
# As root: scripts/as-user installs packages, and runs the same target as an unprivileged user.

TARGETS := all test unit lint bench fuzz setup
.PHONY: $(TARGETS) matrix clean

ifeq ($(shell id -u),0)

$(TARGETS):
	@scripts/as-user $(MAKE) --no-print-directory $@

else

all: setup
	.venv/bin/rbuild all

# One process more than processors: tests wait for networks, registries and each other's containers.
test: lint
	.venv/bin/pytest --numprocesses $$(($$(nproc) < 4 ? $$(nproc) + 1 : 4)) --dist loadfile --no-loadscope-reorder --durations 40

unit: setup
	.venv/bin/pytest tests/unit --numprocesses auto --maxprocesses 4

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

# Every Podman, driver and isolation, as root for the mount namespaces that other Podmans and users are in:
# see tests/matrix/run.py; MATRIX="--quick" and the like are its options.
matrix:
	@[ "$$(id -u)" -ne 0 ] || scripts/packages
	/usr/bin/python3 tests/matrix/run.py $(MATRIX)

clean:
	rm -rf .venv out .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
