"""In which order files are tested, and which examples property tests take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
# Those that take minutes, in `make test`: each process gets one file after the other in this order, and for
# whichever ends last all others would wait.
LONGEST = (
    "integration/test_faults_kill.py",
    "integration/test_iris.py",
    "integration/test_scenarios.py",
    "integration/test_scenario_matrix.py",
    "integration/test_interoperation.py",
    "integration/test_rebuild.py",
    "integration/test_causes.py",
    "integration/test_push_chance.py",
    "integration/test_faults_store.py",
    "integration/test_faults_interrupt.py",
    "integration/test_faults_stage.py",
    "integration/test_faults_space.py",
    "integration/test_network_of_a_build.py",
    "integration/test_verify.py",
    "integration/test_debian_base.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and leave all else as it is."""
    order = {TESTS / name: at for at, name in enumerate(LONGEST)}
    assert all(path.exists() for path in order), "a file has another name now"
    items.sort(key=lambda item: order.get(item.path, len(order)))


# The same examples every time, and as long for each as a loaded machine takes: a property that fails by
# chance fails for somebody else's change. New examples are what `make fuzz` looks for, and
# HYPOTHESIS_PROFILE=search.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
