"""What this host and its Podman can do, found out by trying. Nothing here judges: see verbs/doctor.py."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rbuild.errors import RbuildError
from rbuild.podman import Podman
from rbuild.podman_api import podman_api
from rbuild.process import run
from rbuild.sealed.namespace import sealed

_COMMANDS = ("podman", "skopeo", "mmdebstrap", "unshare", "newuidmap", "newgidmap", "crun", "runc", "apt-get")
_SETTINGS = (
    "user.max_user_namespaces",
    "user.max_net_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
)
_TRIAL_SECONDS = 60.0
_CGROUPS = Path("/sys/fs/cgroup")
_CONTAINERS = {"podman": Path("/run/.containerenv"), "docker": Path("/.dockerenv")}
_CAPABILITIES = "security.capability"
_FIRST_SUBORDINATE = 100000  # SUB_UID_MIN of login.defs(5)
_NUMBER = re.compile(r"[0-9]{1,10}")

Cgroups = Literal["v1", "hybrid", "v2"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that was tried: whether it worked, and the last line of what was said if it did not."""

    worked: bool
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder, or its nearest parent that exists: its owner, mode, and free space in bytes."""

    path: Path
    exists: bool
    owner: int
    mode: int
    writable: bool
    free: int


@dataclass(frozen=True, slots=True)
class SubordinateIds:
    """How many ids a user may map, and the first id above all that are given to anyone."""

    count: int
    unused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapper:
    """`newuidmap` or `newgidmap`: where it is, and whether it may map for others (setuid, or capability)."""

    name: str
    path: str | None
    privileged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What `podman info` tells, and what a container says to it."""

    runtime: str | None  # None: Podman cannot tell
    runs: Attempt
    other_runtime: str | None  # one that runs where `runtime` does not
    driver: str
    mount_program: str | None
    storage_config: Path
    configured: bool  # storage_config is there
    controllers: frozenset[str]
    graph: Folder
    mapped_ids: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The facts that `rbuild doctor` judges."""

    uid: int
    user: str
    home: Folder
    runtime_dir: Folder | None  # None: XDG_RUNTIME_DIR is not set
    store: Folder
    commands: Mapping[str, str | None]
    podman: tuple[int, int, int] | str | None  # a version, why there is none, or None where it is missing
    engine: Engine | str  # or why Podman could not tell
    mappers: tuple[Mapper, ...]
    subordinate: Mapping[str, SubordinateIds]  # by file: /etc/subuid, /etc/subgid
    user_namespace: Attempt
    settings: Mapping[str, int]  # the kernel's, where it knows them
    sealed: Attempt | None  # None: not tried
    cgroups: Cgroups
    container: str | None = None  # what started the container that this is: podman or docker


def probe(environment: Mapping[str, str], store: Path) -> Host:
    """Look at the host as the user with that environment sees it. Changes nothing; takes a second or two."""
    uid = os.getuid()
    user = _user_name(uid)
    path = environment.get("PATH", os.defpath)
    commands = {name: shutil.which(name, path=path) for name in _COMMANDS}
    runtime_dir = environment.get("XDG_RUNTIME_DIR")
    nothing = "not as root" if uid == 0 else "podman is not installed"
    engine: Engine | str = nothing
    version: tuple[int, int, int] | str | None = None
    sealed_build: Attempt | None = None
    if commands["podman"]:
        podman = Podman(environment)
        try:
            version = podman.version()
            if uid != 0:  # root's Podman is another, with a storage that is better left alone
                engine = _engine(podman, Path(runtime_dir) if runtime_dir else None)
        except RbuildError as error:
            engine = _last_line(str(error.problems[0].what))
            version = version or engine
        if uid != 0:
            sealed_build = _attempt(partial(_sealed_true, podman))
    return Host(
        uid=uid,
        user=user,
        home=_folder(Path(environment.get("HOME", "/"))),
        runtime_dir=_folder(Path(runtime_dir)) if runtime_dir else None,
        store=_folder(store),
        commands=commands,
        podman=version,
        engine=engine,
        mappers=tuple(_mapper(name, commands[name]) for name in ("newuidmap", "newgidmap")),
        subordinate={
            file: subordinate_ids(_text(Path(file)), user, uid) for file in ("/etc/subuid", "/etc/subgid")
        },
        user_namespace=_attempt(
            partial(_succeed, ["unshare", "--user", "--map-root-user", "true"], environment)
        ),
        settings=_settings(),
        sealed=sealed_build,
        cgroups=_cgroups(),
        container=next((name for name, mark in _CONTAINERS.items() if mark.exists()), None),
    )


def subordinate_ids(text: str, user: str, uid: int) -> SubordinateIds:
    """What a file like /etc/subuid gives to a user, by name or by number (subuid(5))."""
    count, unused = 0, _FIRST_SUBORDINATE
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 3 and all(_NUMBER.fullmatch(field) for field in fields[1:]):
            owner, first, size = fields[0], int(fields[1]), int(fields[2])
            unused = max(unused, first + size)
            if owner in (user, str(uid)):
                count += size
    return SubordinateIds(count, unused)


def _engine(podman: Podman, runtime_dir: Path | None) -> Engine:
    usable = runtime_dir is not None and runtime_dir.is_dir() and os.access(runtime_dir, os.W_OK)
    socket_dir = runtime_dir if runtime_dir is not None and usable else Path(tempfile.gettempdir())
    client: Any  # podman-py has no types
    with podman_api(socket_dir, env=podman.env) as client:
        info = client.info()
    host, store = info["host"], info["store"]
    runtime = (host.get("ociRuntime") or {}).get("name")  # nothing where it does not even tell its version
    runs = _attempt(partial(_run_container, podman, None))
    other = None
    if not runs.worked:
        others = (name for name in ("crun", "runc") if name != runtime)
        other = next(
            (name for name in others if _attempt(partial(_run_container, podman, name)).worked), None
        )
    mount_program = (store["graphOptions"] or {}).get("overlay.mount_program")
    mapped = (host.get("idMappings") or {}).get("uidmap") or []
    return Engine(
        runtime=runtime,
        runs=runs,
        other_runtime=other,
        driver=store["graphDriverName"],
        mount_program=mount_program["Executable"] if isinstance(mount_program, dict) else mount_program,
        storage_config=Path(store["configFile"]),
        configured=Path(store["configFile"]).exists(),
        controllers=frozenset(host.get("cgroupControllers") or ()),
        graph=_folder(Path(store["graphRoot"])),
        mapped_ids=sum(part["size"] for part in mapped),
    )


def _run_container(podman: Podman, runtime: str | None) -> None:
    """Run this host's own `true` in a container that needs no image; by the configured runtime if None."""
    with tempfile.TemporaryDirectory(prefix="rbuild-doctor-") as name:
        root = Path(name)
        (root / "usr").mkdir()
        for link in ("bin", "lib", "lib64"):
            (root / link).symlink_to(f"usr/{link}")
        choice = ["--runtime", runtime] if runtime else []
        arguments = ["run", "--rm", "--network", "none", "--security-opt", "label=disable"]
        arguments += ["--volume", "/usr:/usr:ro", "--rootfs", name, "/usr/bin/true"]
        _succeed(podman.argv(*choice, *arguments), podman.env)


def _sealed_true(podman: Podman) -> None:
    said: list[str] = []
    with sealed(podman.command, ["true"], env=podman.env) as build:
        if build.run(said.append) != 0:
            raise RbuildError("\n".join(said) or "it ended with an error")


def _succeed(argv: Sequence[str], env: Mapping[str, str]) -> None:
    completed = run(argv, env=env, timeout=_TRIAL_SECONDS, check=False)
    if completed.returncode != 0:
        raise RbuildError(completed.stderr.strip() or f"exit code {completed.returncode}")


def _attempt(action: Callable[[], None]) -> Attempt:
    try:
        action()
    except RbuildError as error:
        return Attempt(False, _last_line(str(error.problems[0].what)))
    return Attempt(True)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip()


def _folder(path: Path) -> Folder:
    there = path
    while not there.is_dir() and there != there.parent:
        there = there.parent
    info = there.stat()
    return Folder(
        path=path,
        exists=there == path,
        owner=info.st_uid,
        mode=stat.S_IMODE(info.st_mode),
        writable=os.access(there, os.W_OK | os.X_OK),
        free=shutil.disk_usage(there).free,
    )


def _mapper(name: str, path: str | None) -> Mapper:
    privileged = False
    if path is not None:
        with contextlib.suppress(OSError):
            privileged = bool(Path(path).stat().st_mode & stat.S_ISUID) or _CAPABILITIES in os.listxattr(path)
    return Mapper(name=name, path=path, privileged=privileged)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _settings() -> dict[str, int]:
    known = {}
    for name in _SETTINGS:
        text = _text(Path("/proc/sys") / name.replace(".", "/")).strip()
        if _NUMBER.fullmatch(text):
            known[name] = int(text)
    return known


def _cgroups() -> Cgroups:
    if (_CGROUPS / "cgroup.controllers").exists():
        return "v2"
    return "hybrid" if (_CGROUPS / "unified").exists() else "v1"
