"""A stage keeps the version of the canonical form that it was locked under, until it is locked anew."""

from __future__ import annotations

import shutil
from pathlib import Path

from worlds import World

LOCKED = Path(__file__).parents[1] / "scenarios" / "forms"  # under version 1, which keeps hashes in bytecode


def test_an_older_form_verifies_by_its_own_rules_and_upgrades_on_demand(world: World) -> None:
    shutil.copytree(LOCKED, world.project, dirs_exist_ok=True)
    before = (world.project / "rbuild.lock").read_bytes()
    old = world.digests()
    assert world.lock["stages"]["greet"]["form"] == 1
    (verified,) = world.json("verify")
    assert verified["verdict"] == "identical"
    (built,) = world.json("all", "--locked")
    assert built["digest"] == old["greet"]
    assert (world.project / "rbuild.lock").read_bytes() == before
    world.ok("lock", "--upgrade")
    assert world.lock["stages"]["greet"]["form"] == 2
    assert world.digests() != old
    (verified,) = world.json("verify")
    assert verified["verdict"] == "identical"


def test_a_newer_form_needs_a_newer_rbuild(world: World) -> None:
    shutil.copytree(LOCKED, world.project, dirs_exist_ok=True)
    path = world.project / "rbuild.lock"
    path.write_text(path.read_text().replace("form: 1", "form: 99"))
    done = world.rbuild("verify")
    assert done.returncode == 2
    assert (
        "rbuild.lock:10 stages.greet.form: version 99 of the canonical form needs a newer rbuild"
        in done.stderr
    )
