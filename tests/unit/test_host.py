from __future__ import annotations

from pathlib import Path

import pytest

from rbuild.host import SubordinateIds, probe, subordinate_ids


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", SubordinateIds(0, 100000)),
        ("ada:100000:65536\n", SubordinateIds(65536, 165536)),
        ("1000:100000:65536\n", SubordinateIds(65536, 165536)),
        ("ada:100000:1000\nada:200000:500\n", SubordinateIds(1500, 200500)),
        ("bob:100000:65536\n", SubordinateIds(0, 165536)),
        # What is no entry counts for nothing: comments, garbage, numbers without end.
        ("# ada\nada\nada:x:y\nada:1:99999999999999\nada:1:2:3\n", SubordinateIds(0, 100000)),
    ],
)
def test_subordinate_ids(text: str, expected: SubordinateIds) -> None:
    assert subordinate_ids(text, "ada", 1000) == expected


def test_a_host_without_any_of_the_programs(tmp_path: Path) -> None:
    host = probe({"PATH": str(tmp_path), "HOME": str(tmp_path)}, tmp_path / "not" / "there")

    assert host.podman is None
    assert isinstance(host.engine, str)
    assert set(host.commands.values()) == {None}
    assert [mapper.privileged for mapper in host.mappers] == [False, False]
    assert not host.user_namespace.worked
    assert host.sealed is None
    assert host.runtime_dir is None
    assert host.store.path == tmp_path / "not" / "there"
    assert not host.store.exists
    assert host.store.writable
    assert host.store.free > 0


def test_a_mapper_has_its_privilege_from_the_setuid_bit(tmp_path: Path) -> None:
    for name, mode in (("newuidmap", 0o755), ("newgidmap", 0o4755)):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)

    host = probe({"PATH": str(tmp_path), "HOME": str(tmp_path)}, tmp_path)

    assert [(mapper.name, mapper.privileged) for mapper in host.mappers] == [
        ("newuidmap", False),
        ("newgidmap", True),
    ]
