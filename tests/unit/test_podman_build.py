"""The command line of a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbuild.podman import Build, Podman, native_platform
from rbuild.trustfiles import Handed


def made(version: tuple[int, int, int]) -> Build:
    return Build(
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


@pytest.mark.parametrize(
    ("version", "asked"), [((4, 3, 1), False), ((5, 1, 9), False), ((5, 4, 2), True), ((5, 8, 6), True)]
)
def test_what_a_run_writes_into_a_volume_is_lost_on_every_podman(
    version: tuple[int, int, int], asked: bool
) -> None:
    """Podman 5.2 keeps it if it is not told otherwise; an older one refuses to be told."""
    assert ("--compat-volumes" in made(version).argv(Podman(env={}))) is asked


def test_a_build_judges_by_the_projects_policy() -> None:
    handed = Handed(policy=Path("/store/policy.json"), registries=None)
    argv = made((4, 3, 1)).argv(Podman(env={}, handed=handed))
    assert argv[:4] == ["podman", "build", "--signature-policy", "/store/policy.json"]
    assert "--signature-policy" not in made((4, 3, 1)).argv(Podman(env={}))
