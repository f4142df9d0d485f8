"""Where a suite's packages come from."""

from __future__ import annotations

import pytest

from rbuild.debian.archives import Archive, archives, sources_list
from rbuild.errors import RbuildError


def test_a_release_comes_with_its_updates_and_its_security_archive() -> None:
    assert sources_list(archives("bookworm", mirror="https://mirror.example/debian/")) == (
        "deb https://mirror.example/debian bookworm main\n"
        "deb https://mirror.example/debian bookworm-updates main\n"
        "deb https://mirror.example/debian-security bookworm-security main\n"
    )


@pytest.mark.parametrize("suite", ["sid", "unstable", "experimental"])
def test_what_moves_forward_has_one_archive(suite: str) -> None:
    assert archives(suite) == (
        Archive(url="http://deb.debian.org/debian", suite=suite, components=("main",)),
    )


def test_a_snapshot_takes_the_place_of_the_mirror_and_may_be_out_of_date() -> None:
    dated = archives("bookworm", snapshot="20260701T000000Z", components=["main", "contrib"])
    assert sources_list(dated, keyring="/keys.gpg") == (
        "deb [check-valid-until=no signed-by=/keys.gpg] "
        "http://snapshot.debian.org/archive/debian/20260701T000000Z bookworm main contrib\n"
        "deb [check-valid-until=no signed-by=/keys.gpg] "
        "http://snapshot.debian.org/archive/debian/20260701T000000Z bookworm-updates main contrib\n"
        "deb [check-valid-until=no signed-by=/keys.gpg] "
        "http://snapshot.debian.org/archive/debian-security/20260701T000000Z bookworm-security main contrib\n"
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"suite": "bookworm main\ndeb http://evil.example/ x"}, "suite"),
        ({"suite": "../sid"}, "suite"),
        ({"suite": "bookworm", "mirror": "file:///etc"}, "mirror"),
        ({"suite": "bookworm", "mirror": "http://mirror.example/debian sid"}, "mirror"),
        ({"suite": "bookworm", "components": ["main", "non free"]}, "component"),
        ({"suite": "bookworm", "components": []}, "component"),
        ({"suite": "bookworm", "snapshot": "yesterday"}, "snapshot"),
    ],
)
def test_what_cannot_be_part_of_a_sources_list_is_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(RbuildError, match=named):
        archives(**given)  # type: ignore[arg-type]
