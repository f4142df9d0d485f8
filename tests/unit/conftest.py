"""Property tests have no deadline: how long an example takes is the machine's business."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("rbuild", deadline=None)
settings.load_profile("rbuild")
