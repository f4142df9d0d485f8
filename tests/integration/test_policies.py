"""Policies, through the front door: what they stop, what is waived until when, and what else goes on."""

from __future__ import annotations

import json
from pathlib import Path

from registries import registry
from worlds import Layouts, World, project_file

POLICY = """\
name: bases
description: What stages start from.
rules:
  RB102: error
"""
WAIVED = """\
waivers:
- rule: RB102
  stage: moving
  reason: the publisher has no versions
  owner: ann
  expires: 2026-06-30
"""
MOVING = "FROM registry.invalid/nobody/nothing\nRUN true\n"


def two_stages(world: World, layouts: Layouts, *, moving: str = MOVING, policy: str = POLICY) -> None:
    """A stage whose base has no tag, and one that is as it should be."""
    bases = layouts.install(world, "busybox", ("localhost/base:1",))
    stages = {name: {"containerfile": name, "context": "context"} for name in ("moving", "good")}
    world.write(
        {
            "rbuild.yaml": project_file(bases, stages),
            "moving": moving,
            "good": "FROM localhost/base:1\nCOPY file.txt /\n",
            "context/file.txt": "text\n",
            "policies/bases.yaml": policy,
        }
    )


def test_an_error_stops_its_stage_before_anything_is_fetched_and_no_other(
    world: World, layouts: Layouts
) -> None:
    two_stages(world, layouts)
    done = world.rbuild("all")
    assert done.returncode == 1
    assert "moving:1: RB102 moving-tag: registry.invalid/nobody/nothing" in done.stderr
    assert "hint: name a version" in done.stderr
    assert "skopeo" not in done.stderr and "cannot be reached" not in done.stderr
    assert list(world.digests()) == ["good"]
    images = world.podman("images", "--format", "{{.Repository}}").split()
    assert "localhost/demo/good" in images and "localhost/demo/moving" not in images


def test_check_says_the_same_without_building(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    done = world.rbuild("check", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    (finding,) = found["findings"]
    assert (finding["rule"], finding["stage"], finding["level"]) == ("RB102", "moving", "error")
    assert (finding["where"]["file"], finding["where"]["line"]) == ("moving", 1)
    assert finding["policy"] == "policies/bases.yaml"
    assert not (world.project / "rbuild.lock").exists()
    assert world.rbuild("check", "good").returncode == 0


def test_a_waiver_excuses_until_its_last_day(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, policy=POLICY + WAIVED)

    def check(day: str) -> tuple[int, dict[str, dict[str, object]]]:
        done = world.rbuild("check", "--json", "--effective-time", day)
        return done.returncode, {one["rule"]: one for one in json.loads(done.stdout)["findings"]}

    code, found = check("2026-04-15")
    assert (code, set(found)) == (0, {"RB102"})
    assert found["RB102"]["waiver"]["owner"] == "ann"  # type: ignore[index]
    code, found = check("2026-06-30")
    assert (code, set(found)) == (0, {"RB102", "RB002"})
    assert "ends today" in str(found["RB002"]["message"])
    code, found = check("2026-07-01")
    assert (code, set(found)) == (1, {"RB102"})
    assert found["RB102"]["ended"]["expires"] == "2026-06-30"  # type: ignore[index]
    code, found = check("2026-01-01")
    assert (code, found["RB001"]["level"]) == (1, "error")


def test_a_waiver_that_excuses_nothing_is_reported(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, moving="FROM localhost/base:1\n", policy=POLICY + WAIVED)
    done = world.rbuild("check", "--json", "--effective-time", "2026-05-01")
    assert done.returncode == 0
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["rule"], finding["level"]) == ("RB003", "warning")
    assert (finding["where"]["file"], finding["where"]["line"]) == ("policies/bases.yaml", 6)


def test_a_waiver_in_a_comment(world: World, layouts: Layouts) -> None:
    comment = "# rbuild: allow=RB102 until=2026-06-30 owner=ann reason=no versions\n"
    two_stages(world, layouts, moving=comment + MOVING)
    day = ("--effective-time", "2026-06-01")
    assert world.rbuild("check", *day).returncode == 0
    assert world.rbuild("check", "--effective-time", "2026-07-01").returncode == 1

    two_stages(world, layouts, moving=comment + MOVING, policy=POLICY + "comment_waivers: false\n")
    done = world.rbuild("check", "--json", *day)
    assert done.returncode == 1
    assert {one["rule"] for one in json.loads(done.stdout)["findings"]} == {"RB102", "RB004"}

    two_stages(world, layouts, moving="# rbuild: allow=RB102 reason=later\n" + MOVING)
    done = world.rbuild("check", "--json", *day)
    assert {one["rule"] for one in json.loads(done.stdout)["findings"]} == {"RB102", "RB005"}


def test_all_mistakes_of_all_policies_come_at_once(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, policy="name: bases\nrules:\n  RB999: error\n  RB102: {levle: error}\n")
    world.write({"policies/more.yaml": POLICY + WAIVED.replace("moving", "movign")})
    for command in (["check"], ["all"]):
        done = world.rbuild(*command)
        assert done.returncode == 2
        assert "policies/bases.yaml:1 description: is missing" in done.stderr
        assert "policies/bases.yaml:3 rules.RB999: there is no such rule" in done.stderr
        assert "policies/bases.yaml:4 rules.RB102.levle: is not a known key" in done.stderr
        assert "policies/more.yaml:7 waivers[0].stage: there is no stage 'movign'" in done.stderr
        assert "did you mean 'moving'?" in done.stderr
    assert not (world.project / "rbuild.lock").exists()


def test_without_policies_every_rule_is_asked(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    (world.project / "policies" / "bases.yaml").unlink()
    found = json.loads(world.rbuild("check", "--json").stdout)
    assert found["policies"] == []
    assert "RB102" in {one["rule"] for one in found["findings"]}


ROOT = "name: users\ndescription: Who images run as.\nrules: {RB201: error}\n"


def users(world: World, *, policy: str | None = ROOT) -> None:
    """A stage that runs as root, and one that does not; both from nothing."""
    stages = {
        name: {"containerfile": name, "context": "context", "run": {"command": ["/none"]}}
        for name in ("root", "user")
    }
    world.write(
        {
            "rbuild.yaml": project_file({}, stages),
            "root": "FROM scratch\nCOPY file.txt /\n",
            "user": "FROM scratch\nCOPY file.txt /\nUSER 1000\n",
            "context/file.txt": "text\n",
            **({"policies/users.yaml": policy} if policy else {}),
        }
    )


def test_an_image_that_a_policy_refuses_is_not_locked_and_the_others_are(world: World) -> None:
    users(world)
    done = world.rbuild("all")
    assert done.returncode == 1
    assert "RB201 runs-as-root" in done.stderr
    assert list(world.digests()) == ["user"]
    assert "localhost/demo/root" not in world.podman("images", "--format", "{{.Repository}}").split()

    world.write({"root": "FROM scratch\nCOPY file.txt /\nUSER 1000:1000\n"})
    world.ok("all")
    assert list(world.digests()) == ["root", "user"]
    assert world.rbuild("check").returncode == 0


def test_a_policy_that_comes_later_holds_what_is_locked_from_being_run_pushed_and_pulled(
    world: World, folder: Path
) -> None:
    users(world, policy=None)
    world.ok("all")
    locked = (world.project / "rbuild.lock").read_bytes()
    with registry(folder) as hub:
        world.ok("push", "--to", f"{hub.host}/team")

        world.write({"policies/users.yaml": ROOT})
        done = world.rbuild("push", "--to", f"{hub.host}/other", "--json")
        assert done.returncode == 1
        (delivery,) = json.loads(done.stdout)
        assert [image["stage"] for image in delivery["images"]] == ["user"]
        assert "RB201 runs-as-root" in done.stderr

        world.podman("rmi", "--all", "--force")
        world.forget_store()
        done = world.rbuild("pull", "--from", f"{hub.host}/team")
        assert done.returncode == 1
        assert "RB201 runs-as-root" in done.stderr
        names = world.podman("images", "--format", "{{.Repository}}").split()
        assert "localhost/demo/user" in names and "localhost/demo/root" not in names

    done = world.rbuild("run", "root")
    assert done.returncode == 1
    assert "RB201 runs-as-root" in done.stderr
    assert (world.project / "rbuild.lock").read_bytes() == locked


def test_what_changed_since_it_was_locked_is_judged_as_it_was_locked(world: World, layouts: Layouts) -> None:
    """The new Containerfile is another image's: only the lock and the layers are looked at."""
    bases = layouts.install(world, "busybox", ("localhost/base:1",))
    stage = {"containerfile": "Containerfile", "context": "context", "run": {"command": ["busybox", "true"]}}
    rules = "RB101: error, RB205: error, RB209: error, RB218: error"
    world.write(
        {
            "rbuild.yaml": project_file(bases, {"app": stage}),
            "Containerfile": "FROM localhost/base:1\nCOPY file.txt /\nUSER 1000\n",
            "context/file.txt": "text\n",
            "policies/p.yaml": f"name: p\ndescription: d\nrules: {{{rules}}}\n",
        }
    )
    world.ok("all")
    world.write({"Containerfile": "FROM registry.invalid/x:1\nRUN sudo x\nRUN y\nRUN z\nRUN a\n"})
    done = world.rbuild("run")
    assert done.returncode == 0, done.stderr
    assert "changed since it was locked" in done.stderr
    found = json.loads(world.rbuild("check", "--json").stdout)["findings"]
    assert [(one["rule"], one["where"]["line"]) for one in found] == [
        ("RB101", 1),
        ("RB218", 1),
        ("RB205", 2),
    ]


def test_what_is_locked_is_held_before_it_is_built_again(world: World) -> None:
    users(world, policy=None)
    world.ok("all")
    world.forget_store()
    world.podman("rmi", "--all", "--force")
    never = "  never:\n    {when: lock, expression: lock.epoch.getFullYear() < 1970, message: m, hint: h}\n"
    world.write({"policies/p.yaml": f"name: p\ndescription: d\nstages: [user]\nrules:\n{never}"})
    done = world.rbuild("all")
    assert done.returncode == 1
    assert "[root] built" in done.stderr
    assert "never: m" in done.stderr and "[user] step" not in done.stderr


def test_a_containerfile_that_a_later_policy_refuses_is_not_pushed(world: World) -> None:
    users(world, policy=None)
    world.ok("all")
    world.write({"policies/p.yaml": "name: p\ndescription: d\nrules: {RB218: error}\n"})
    done = world.rbuild("push", "root", "--to", "localhost:1/team")
    assert done.returncode == 1
    assert "root:1: RB218 no-user" in done.stderr


def test_a_waiver_that_is_too_long_lets_nothing_through(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, policy=POLICY + WAIVED.replace("2026-06-30", "2099-06-30"))
    done = world.rbuild("all")
    assert done.returncode == 1
    assert "RB001 waiver-too-long" in done.stderr and "RB102 moving-tag" in done.stderr
    assert list(world.digests()) == ["good"]


def test_where_an_image_may_go_is_a_rule_of_the_projects_own(world: World, folder: Path) -> None:
    users(world, policy=None)
    world.write(
        {
            "policies/places.yaml": "name: places\ndescription: Where images go.\nrules:\n"
            "  our-registry:\n    when: push\n    hint: push to our own registry\n"
            "    expression: push.destination.contains('/team/')\n"
            "    message: '{{ push.destination }} is not ours'\n"
        }
    )
    world.ok("all")
    with registry(folder) as hub:
        done = world.rbuild("push", "user", "--to", f"{hub.host}/other")
        assert done.returncode == 1
        assert f"our-registry: {hub.host}/other/demo/user" in done.stderr
        world.ok("push", "user", "--to", f"{hub.host}/team")


def test_a_stage_is_verified_until_its_lock_changes(world: World) -> None:
    users(world, policy="name: proof\ndescription: Built again.\nrules: {RB118: error, RB309: error}\n")

    def found() -> list[tuple[str, str]]:
        done = world.rbuild("check", "user", "--json")
        return [(one["rule"], one["stage"]) for one in json.loads(done.stdout)["findings"]]

    world.ok("all")  # nothing can be verified before it is built
    assert found() == [("RB118", "user")]
    done = world.rbuild("push", "user", "--to", "localhost:1/team")
    assert done.returncode == 1
    assert "RB309 push-not-verified" in done.stderr and "hint: rbuild verify user" in done.stderr

    world.ok("verify", "user")
    assert found() == []

    world.write({"user": "FROM scratch\nCOPY file.txt /other\nUSER 1000\n"})
    world.ok("build", "user")
    assert found() == [("RB118", "user")]


OWN = """\
name: ours
description: Files are small.
rules:
  small-files:
    when: image
    each: image.files
    expression: "!item.own || item.size <= {most}"
    message: "/{{{{ item.path }}}} has {{{{ item.size }}}} bytes in stage {{{{ stage.name }}}}"
    hint: leave it out
"""
DATED = """\
  until-then:
    when: image
    expression: now < timestamp("2027-01-01T00:00:00Z")
    message: "{{ image.config.architecture }} has had its day"
    hint: stop
"""


def test_rules_of_the_project_s_own_hold_an_image_before_it_is_locked(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, moving="FROM localhost/base:1\nRUN true\n")
    (world.project / "policies" / "bases.yaml").unlink()
    world.write({"policies/ours.yaml": OWN.format(most=4)})
    done = world.rbuild("all")
    assert done.returncode == 1
    assert "good:2: small-files: /file.txt has 5 bytes in stage good" in done.stderr
    assert list(world.digests()) == ["moving"]

    world.write({"policies/ours.yaml": OWN.format(most=5) + DATED})
    assert world.rbuild("all").returncode == 0
    assert sorted(world.digests()) == ["good", "moving"]

    # What an image gave is remembered: not under another expression, and not at another time.
    assert world.rbuild("check", "--effective-time", "2026-12-31").returncode == 0
    late = world.rbuild("check", "good", "--json", "--effective-time", "2027-01-02")
    assert [one["message"] for one in json.loads(late.stdout)["findings"]] == ["amd64 has had its day"]
    world.write({"policies/ours.yaml": OWN.format(most=4)})
    assert world.rbuild("check", "good").returncode == 1
