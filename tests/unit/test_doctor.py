from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rbuild.host import Attempt, Engine, Folder, Host, Mapper, SubordinateIds
from rbuild.verbs.doctor import Check, judge

GIB = 1 << 30


def folder(path: str, **changes: object) -> Folder:
    good = Folder(path=Path(path), exists=True, owner=1000, mode=0o700, writable=True, free=50 * GIB)
    return replace(good, **changes)  # type: ignore[arg-type]


ENGINE = Engine(
    runtime="crun",
    runs=Attempt(True),
    other_runtime=None,
    driver="overlay",
    mount_program=None,
    storage_config=Path("/home/ada/.config/containers/storage.conf"),
    configured=False,
    controllers=frozenset({"cpu", "memory", "pids"}),
    graph=folder("/home/ada/.local/share/containers/storage"),
    mapped_ids=65537,
)
COMMANDS = ("podman", "skopeo", "mmdebstrap", "unshare", "newuidmap", "newgidmap", "crun", "runc", "apt-get")
HOST = Host(
    uid=1000,
    user="ada",
    home=folder("/home/ada"),
    runtime_dir=folder("/run/user/1000"),
    store=folder("/home/ada/.local/share/rbuild"),
    commands={name: f"/usr/bin/{name}" for name in COMMANDS},
    podman=(4, 3, 1),
    engine=ENGINE,
    mappers=(
        Mapper(name="newuidmap", path="/usr/bin/newuidmap", privileged=True),
        Mapper(name="newgidmap", path="/usr/bin/newgidmap", privileged=True),
    ),
    subordinate={
        "/etc/subuid": SubordinateIds(65536, 165536),
        "/etc/subgid": SubordinateIds(65536, 165536),
    },
    user_namespace=Attempt(True),
    settings={"user.max_user_namespaces": 95000},
    sealed=Attempt(True),
    cgroups="v2",
)


def without(name: str) -> dict[str, str | None]:
    return {**HOST.commands, name: None}


def trouble(host: Host, *, debian_bases: bool = True) -> list[Check]:
    return [check for check in judge(host, debian_bases=debian_bases) if check.ok is not True]


def only_trouble(host: Host, *, debian_bases: bool = True) -> Check:
    found = trouble(host, debian_bases=debian_bases)
    assert len(found) == 1, found
    return found[0]


def test_a_good_host_has_nothing_to_fix() -> None:
    checks = judge(HOST, debian_bases=True)

    assert {check.ok for check in checks} == {True}
    assert {check.fix for check in checks} == {None}
    assert len({check.name for check in checks}) == len(checks) == 17


def test_root_is_told_first_to_be_someone_else() -> None:
    host = replace(HOST, uid=0, user="root", runtime_dir=None, engine="not as root")
    first = judge(host, debian_bases=True)[0]

    assert only_trouble(host) == first
    assert first.ok is False
    assert "ordinary user" in first.found
    assert "su - " in (first.fix or "")


def test_podman_missing() -> None:
    host = replace(
        HOST,
        commands=without("podman"),
        podman=None,
        engine="podman is not installed",
        sealed=None,
    )
    failed = [check for check in trouble(host) if check.ok is False]
    unknown = [check.name for check in trouble(host) if check.ok is None]

    assert [check.name for check in failed] == ["podman"]
    assert failed[0].fix == "sudo apt-get install --no-install-recommends podman"
    assert unknown == ["sealed network", "OCI runtime", "storage driver", "cgroups", "disk: podman"]


@pytest.mark.parametrize(("version", "ok"), [((4, 2, 9), False), ((4, 3, 0), True), ((5, 8, 6), True)])
def test_podman_is_new_enough(version: tuple[int, int, int], ok: bool) -> None:
    checks = {check.name: check for check in judge(replace(HOST, podman=version), debian_bases=True)}

    assert checks["podman"].ok is ok


def test_podman_that_cannot_tell() -> None:
    host = replace(HOST, engine="Podman's service ended: no such runtime")
    podman = next(check for check in trouble(host) if check.ok is False)

    assert podman.name == "podman"
    assert "no such runtime" in podman.found
    assert podman.fix == "podman system migrate && podman info"


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        (
            'default OCI runtime "crun" not found: invalid argument',
            "sudo apt-get install --no-install-recommends crun",
        ),
        ("database graph driver name does not match", "podman system reset --force && podman info"),
        (
            "cannot re-exec process to join the existing user namespace",
            "podman system migrate && podman info",
        ),
    ],
)
def test_podman_that_says_what_it_lacks(said: str, fix: str) -> None:
    checks = {check.name: check for check in judge(replace(HOST, engine=said), debian_bases=True)}

    assert checks["podman"].fix == fix


def test_mmdebstrap_is_needed_for_debian_bases_only() -> None:
    host = replace(HOST, commands=without("mmdebstrap"))

    assert only_trouble(host, debian_bases=True).ok is False
    assert only_trouble(host, debian_bases=False).ok is None


def test_a_distribution_without_apt() -> None:
    host = replace(HOST, commands={**without("skopeo"), "apt-get": None})

    assert only_trouble(host).fix == "install the package skopeo of this distribution"


@pytest.mark.parametrize(
    ("changes", "name", "fix"),
    [
        pytest.param(
            {"home": folder("/home/ada", writable=False)},
            "home",
            "sudo install -d -m 700 -o ada /home/ada",
            id="home",
        ),
        pytest.param(
            {"runtime_dir": None},
            "XDG_RUNTIME_DIR",
            "sudo install -d -m 700 -o ada /run/user/1000 && export XDG_RUNTIME_DIR=/run/user/1000",
            id="no runtime dir",
        ),
        pytest.param(
            {"runtime_dir": folder("/run/user/1000", exists=False)},
            "XDG_RUNTIME_DIR",
            "sudo install -d -m 700 -o ada /run/user/1000",
            id="runtime dir gone",
        ),
        pytest.param(
            {"runtime_dir": folder("/run/user/7", owner=7)},
            "XDG_RUNTIME_DIR",
            "sudo install -d -m 700 -o ada /run/user/1000 && export XDG_RUNTIME_DIR=/run/user/1000",
            id="runtime dir of another",
        ),
        pytest.param(
            {"runtime_dir": folder("/run/user/1000", mode=0o755)},
            "XDG_RUNTIME_DIR",
            "chmod 700 /run/user/1000",
            id="runtime dir open to all",
        ),
        pytest.param(
            {"commands": without("skopeo")},
            "skopeo",
            "sudo apt-get install --no-install-recommends skopeo",
            id="no skopeo",
        ),
        pytest.param(
            {"mappers": (Mapper(name="newuidmap", path=None, privileged=False), HOST.mappers[1])},
            "newuidmap",
            "sudo apt-get install --no-install-recommends uidmap",
            id="no newuidmap",
        ),
        pytest.param(
            {"mappers": (HOST.mappers[0], replace(HOST.mappers[1], privileged=False))},
            "newgidmap",
            "sudo chmod u+s /usr/bin/newgidmap",
            id="newgidmap without privilege",
        ),
        pytest.param(
            {
                "subordinate": {**HOST.subordinate, "/etc/subgid": SubordinateIds(1000, 231072)},
                "engine": replace(ENGINE, mapped_ids=1),
            },
            "subgid",
            "sudo usermod --add-subgids 231072-296607 ada && podman system migrate",
            id="too few ids",
        ),
        pytest.param(
            {"sealed": Attempt(False, "No space left on device"), "settings": {"user.max_net_namespaces": 0}},
            "sealed network",
            "echo user.max_net_namespaces=15000 | sudo tee /etc/sysctl.d/90-rbuild.conf && "
            "sudo sysctl --system",
            id="no network namespace",
        ),
        pytest.param(
            {
                "engine": replace(
                    ENGINE, runs=Attempt(False, "hybrid mode not supported"), other_runtime="runc"
                )
            },
            "OCI runtime",
            "mkdir -p ~/.config/containers/containers.conf.d && printf '[engine]\\nruntime = \"runc\"\\n'"
            " > ~/.config/containers/containers.conf.d/rbuild-runtime.conf",
            id="runtime",
        ),
        pytest.param(
            {
                "engine": replace(ENGINE, runs=Attempt(False, "hybrid mode not supported")),
                "commands": without("runc"),
            },
            "OCI runtime",
            "sudo apt-get install --no-install-recommends runc && "
            "mkdir -p ~/.config/containers/containers.conf.d && printf '[engine]\\nruntime = \"runc\"\\n'"
            " > ~/.config/containers/containers.conf.d/rbuild-runtime.conf",
            id="no other runtime",
        ),
        pytest.param(
            {"engine": replace(ENGINE, runs=Attempt(False, "sd-bus call: Permission denied"))},
            "OCI runtime",
            "mkdir -p ~/.config/containers/containers.conf.d && "
            "printf '[engine]\\ncgroup_manager = \"cgroupfs\"\\n'"
            " > ~/.config/containers/containers.conf.d/rbuild-runtime.conf",
            id="no session",
        ),
        pytest.param(
            {"engine": replace(ENGINE, runs=Attempt(False, "symbol lookup error"))},
            "OCI runtime",
            "sudo apt-get install --reinstall --no-install-recommends crun",
            id="no runtime works",
        ),
        pytest.param(
            {"store": folder("/data", free=GIB // 2)},
            "disk: store",
            "export RBUILD_STORE=/A/LARGER/DISK/rbuild",
            id="store full",
        ),
        pytest.param(
            {"store": folder("/data", writable=False)},
            "disk: store",
            "sudo install -d -m 700 -o ada /data",
            id="store read-only",
        ),
        pytest.param(
            {"engine": replace(ENGINE, graph=folder("/data", writable=False))},
            "disk: podman",
            "sudo install -d -m 700 -o ada /data",
            id="podman read-only",
        ),
        pytest.param(
            {"engine": replace(ENGINE, graph=folder("/data", free=0))},
            "disk: podman",
            "podman system prune --all",
            id="podman full",
        ),
    ],
)
def test_what_fails_says_how_to_fix_it(changes: dict[str, object], name: str, fix: str) -> None:
    failed = only_trouble(replace(HOST, **changes))  # type: ignore[arg-type]

    assert (failed.name, failed.ok, failed.fix) == (name, False, fix)


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ({"kernel.unprivileged_userns_clone": 0}, "kernel.unprivileged_userns_clone=1"),
        ({"user.max_user_namespaces": 0}, "user.max_user_namespaces=15000"),
        (
            {"kernel.apparmor_restrict_unprivileged_userns": 1},
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_user_namespaces_are_refused_by_a_setting(settings: dict[str, int], fix: str) -> None:
    host = replace(HOST, user_namespace=Attempt(False, "Operation not permitted"), settings=settings)

    assert only_trouble(host).fix == (
        f"echo {fix} | sudo tee /etc/sysctl.d/90-rbuild.conf && sudo sysctl --system"
    )


def test_user_namespaces_are_refused_for_no_visible_reason() -> None:
    host = replace(HOST, user_namespace=Attempt(False, "Operation not permitted"))
    failed = only_trouble(host)

    assert failed.ok is False
    assert "Operation not permitted" in failed.found
    assert (failed.fix or "").startswith("sudo dmesg | grep ")
    inside = only_trouble(replace(host, container="docker"))
    assert "docker run --privileged" in (inside.fix or "")


def test_ids_may_come_from_a_directory_service() -> None:
    nothing = SubordinateIds(0, 100000)

    assert trouble(replace(HOST, subordinate=dict.fromkeys(HOST.subordinate, nothing))) == []


def test_new_ids_need_a_new_mapping() -> None:
    failed = trouble(replace(HOST, engine=replace(ENGINE, mapped_ids=1)))

    assert [(check.name, check.fix) for check in failed] == [
        ("subuid", "podman system migrate"),
        ("subgid", "podman system migrate"),
    ]


@pytest.mark.parametrize("configured", [False, True])
def test_vfs_is_a_warning(configured: bool) -> None:
    warned = only_trouble(replace(HOST, engine=replace(ENGINE, driver="vfs", configured=configured)))

    assert (warned.name, warned.ok) == ("storage driver", None)
    assert (warned.fix or "").startswith("podman system reset --force && ")
    assert "removes all" in warned.found
    # A configuration that is there is edited, never overwritten.
    assert ("> /home/ada" in (warned.fix or "")) is not configured


def test_overlay_by_fuse_is_good_enough() -> None:
    checks = judge(
        replace(HOST, engine=replace(ENGINE, mount_program="/usr/bin/fuse-overlayfs")), debian_bases=True
    )

    assert {check.ok for check in checks} == {True}
    assert any("fuse-overlayfs" in check.found for check in checks)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"cgroups": "v1"}, "v1"),
        ({"cgroups": "hybrid"}, "hybrid"),
        ({"engine": replace(ENGINE, controllers=frozenset({"cpu"}))}, "memory and pids"),
        ({"store": folder("/data", free=2 * GIB)}, "2.0 GiB"),
    ],
)
def test_what_works_with_less_is_a_warning(changes: dict[str, object], found: str) -> None:
    warned = only_trouble(replace(HOST, **changes))  # type: ignore[arg-type]

    assert warned.ok is None
    assert found in warned.found
    assert warned.fix and warned.fix.split()[0] in ("sudo", "export")
