"""Podman's API, on a service that lives for the call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rbuild.errors import RbuildError
from rbuild.podman import Podman
from rbuild.podman_api import podman_api

RUNTIME_DIR = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))


def services(socket_dir: Path) -> list[str]:
    """The command lines of the running services with a socket below `socket_dir`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"unix://{socket_dir}/" in line:
            found.append(line)
    return found


def test_the_service_answers_and_is_gone_afterwards() -> None:
    with podman_api(RUNTIME_DIR) as client:
        version = client.version()["Version"]
        assert len(services(RUNTIME_DIR)) >= 1

    assert version == ".".join(map(str, Podman(os.environ).version()))
    assert services(RUNTIME_DIR) == []
    assert list(RUNTIME_DIR.glob("rbuild-api-*")) == []


def test_the_service_is_gone_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), podman_api(RUNTIME_DIR):
        raise ZeroDivisionError

    assert services(RUNTIME_DIR) == []


def test_a_service_that_does_not_start(tmp_path: Path) -> None:
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\necho Error: not today >&2\nexit 125\n")
    podman.chmod(0o755)

    with (
        pytest.raises(RbuildError, match="ended: Error: not today"),
        podman_api(RUNTIME_DIR, env={**os.environ, "PATH": str(tmp_path)}),
    ):
        pass


def test_podman_is_not_installed(tmp_path: Path) -> None:
    with (
        pytest.raises(RbuildError, match="podman: not installed"),
        podman_api(RUNTIME_DIR, env={"PATH": str(tmp_path)}),
    ):
        pass


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()

    with pytest.raises(RbuildError, match="too long"), podman_api(deep):
        pass
