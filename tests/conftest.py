"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# A build server repeats itself; everywhere else each run tries new examples.
settings.register_profile("server", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("server")
