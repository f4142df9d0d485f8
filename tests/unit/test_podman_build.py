"""The command line of a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbuild.podman import Build, Podman, native_platform


@pytest.mark.parametrize(
    ("version", "asked"), [((4, 3, 1), False), ((5, 1, 9), False), ((5, 4, 2), True), ((5, 8, 6), True)]
)
def test_what_a_run_writes_into_a_volume_is_lost_on_every_podman(
    version: tuple[int, int, int], asked: bool
) -> None:
    """Podman 5.2 keeps it if it is not told otherwise; an older one refuses to be told."""
    build = Build(
        containerfile=Path("Containerfile"),
        context=Path("context"),
        authority=Path("mount"),
        mount="/.rbuild",
        target=None,
        args={},
        platform=native_platform(),
        cached=True,
        image_id=Path("id"),
        version=version,
    )
    assert ("--compat-volumes" in build.argv(Podman(env={}))) is asked
