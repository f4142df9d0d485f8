"""Secrets of a RUN: they reach it, and nothing else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import zstandard
from worlds import Layouts, World, project_file

FROM_FILE = "correct-horse-battery-staple"
FROM_VARIABLE = "tr0ub4dor&3, with a comma"
CONTAINERFILE = """\
FROM localhost/base:1
RUN --mount=type=secret,id=from.file --mount=type=secret,id=variable,target=/key,required \\
    busybox wc -c /run/secrets/from.file /key > /sizes && busybox cat /key
COPY . /all/
"""
SECRETS = {"from.file": {"file": "private/token, or so"}, "variable": {"env": "SCENARIO_SECRET"}}


def lay_out(world: World, layouts: Layouts, containerfile: str = CONTAINERFILE) -> None:
    bases = layouts.install(world, "tiny", ("localhost/base:1",))
    stage = {"containerfile": "Containerfile", "context": ".", "secrets": SECRETS}
    world.write(
        {
            "rbuild.yaml": project_file(bases, {"one": stage}),
            "Containerfile": containerfile,
            ".containerignore": "bases\n",
            "private/token, or so": f"{FROM_FILE}\n",
        }
    )
    world.env["SCENARIO_SECRET"] = FROM_VARIABLE


def places_that_hold(world: World, secret: str) -> list[str]:
    """Files below the world's data that have the secret in them, packed blobs unpacked."""
    searched = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", secret, str(world.data)]
    said = subprocess.run(["podman", "unshare", *searched], env=world.env, capture_output=True, text=True)
    found = said.stdout.splitlines()
    for blob in (world.store / "blobs" / "sha256").iterdir():
        data = blob.read_bytes()
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        if secret.encode() in data:
            found.append(str(blob))
    return found


def test_a_secret_is_nowhere_afterwards(world: World, layouts: Layouts) -> None:
    lay_out(world, layouts)
    done = world.ok("all")
    lock = (world.project / "rbuild.lock").read_text()
    for secret in (FROM_FILE, FROM_VARIABLE):
        assert secret not in done.stdout + done.stderr + lock
        assert places_that_hold(world, secret) == []
    assert "***" in done.stderr  # what the RUN printed
    sizes = world.podman("run", "--rm", "--network", "none", "localhost/demo/one", "cat", "/sizes")
    assert [line.split()[0] for line in sizes.splitlines()[:2]] == [
        str(len(FROM_FILE) + 1),
        str(len(FROM_VARIABLE)),
    ]
    assert "token" not in world.podman(
        "run", "--rm", "--network", "none", "localhost/demo/one", "find", "/all"
    )

    # Another value is no other input: there is nothing to do.
    world.write({"private/token, or so": "another value\n"})
    world.env["SCENARIO_SECRET"] = "something else"
    (found,) = world.json("all", "--locked")
    assert found["outcome"] == "up to date"

    # An up-to-date stage needs no secret; one that is to be built says what is missing, before it starts.
    (world.project / "private" / "token, or so").unlink()
    del world.env["SCENARIO_SECRET"]
    world.ok("all")
    failed = world.rbuild("verify")
    assert failed.returncode == 2
    assert "rbuild.yaml:" in failed.stderr
    assert "the secret 'from.file' is missing: 'private/token, or so' cannot be read" in failed.stderr
    assert "the secret 'variable' is missing: the variable SCENARIO_SECRET is not set" in failed.stderr
    assert "hint: set it for this command: SCENARIO_SECRET=… rbuild …" in failed.stderr
    assert "STEP" not in failed.stderr and "step 1" not in failed.stderr


def test_a_run_that_fails_gives_no_secret_away(world: World, layouts: Layouts) -> None:
    run = "RUN --mount=type=secret,id=from.file --mount=type=secret,id=variable cat /run/secrets/* && false\n"
    lay_out(world, layouts, f"FROM localhost/base:1\n{run}")
    for arguments in ((), ("--json",)):
        failed = world.rbuild("all", *arguments)
        assert failed.returncode == 2
        assert "***" in failed.stdout + failed.stderr
        for secret in (FROM_FILE, FROM_VARIABLE):
            assert secret not in failed.stdout + failed.stderr
            assert places_that_hold(world, secret) == []


@pytest.mark.parametrize("what", ["unused", "required"])
def test_secrets_that_do_not_fit_the_containerfile(world: World, layouts: Layouts, what: str) -> None:
    mounts = {
        "unused": "--mount=type=secret,id=from.file",
        "required": "--mount=type=secret,id=from.file --mount=type=secret,id=variable "
        "--mount=type=secret,id=other,required=true",
    }
    lay_out(world, layouts, f"FROM localhost/base:1\nRUN {mounts[what]} true\n")
    failed = world.rbuild("all")
    assert failed.returncode == 2
    said = {
        "unused": "no RUN of Containerfile has --mount=type=secret,id=variable",
        "required": "Containerfile:2: the secret 'other' is required, and rbuild.yaml does not say where",
    }
    assert said[what] in failed.stderr
    assert not list(Path(world.data).glob("rbuild/logs/demo/*"))


def test_a_secret_in_an_address_is_not_recorded(world: World, layouts: Layouts) -> None:
    run = (
        "RUN --mount=type=secret,id=from.file --mount=type=secret,id=variable "
        'busybox wget -q -O /page "http://192.0.2.1/$(cat /run/secrets/from.file)" || true\n'
    )
    lay_out(world, layouts, f"FROM localhost/base:1\n{run}")
    done = world.rbuild("all", env={"RBUILD_ALLOW_LOOPBACK": "1"}, timeout=900)
    assert FROM_FILE not in done.stdout + done.stderr
    assert json.dumps(FROM_FILE) not in done.stderr
    assert places_that_hold(world, FROM_FILE) == []
