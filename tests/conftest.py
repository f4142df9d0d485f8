"""Property tests: the same examples every time, and as long for each as a loaded machine takes.

A property that fails by chance fails for somebody else's change. New examples are what `make fuzz` looks
for, and HYPOTHESIS_PROFILE=search.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
