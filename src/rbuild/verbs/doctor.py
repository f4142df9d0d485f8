"""`rbuild doctor`: whether this host can do what rbuild needs, and the line that fixes what it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rbuild.host import Engine, Folder, Host, probe

OLDEST_PODMAN = (4, 3, 0)
_IDS = 65536
_GIB = 1 << 30
_FREE_NEEDED = _GIB  # less, and the next stage does not fit
_FREE_WANTED = 5 * _GIB  # a pipeline's images, recordings and Podman's own copies of them
_NAMESPACES = 15000
_LIMITS = frozenset({"memory", "pids"})
_PACKAGES = {"newuidmap": "uidmap", "newgidmap": "uidmap", "unshare": "util-linux"}
_RUNTIME_CONF = "~/.config/containers/containers.conf.d/rbuild-runtime.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    `ok` is None for a warning: rbuild works, with less, or the check could not be made. `found` says what
    is there; `fix` is the line to type, None where there is nothing to do.
    """

    name: str
    ok: bool | None
    found: str
    fix: str | None = None


def doctor(environment: Mapping[str, str], store: Path, *, debian_bases: bool) -> tuple[Check, ...]:
    """Look at the host as it is seen with `environment`, and judge it.

    `store` is the store's folder; it need not be there. `debian_bases` tells whether the project has bases
    made of Debian packages: without them, mmdebstrap is merely good to have.
    """
    return judge(probe(environment, store), debian_bases=debian_bases)


def judge(host: Host, *, debian_bases: bool) -> tuple[Check, ...]:
    """The checks, in the order in which one would fix them."""
    return tuple(_checks(host, debian_bases=debian_bases))


def _checks(host: Host, *, debian_bases: bool) -> Iterator[Check]:
    ordinary = host.uid != 0  # root is told to be someone else; the rest is each user's own
    yield _user(host)
    if ordinary:
        yield _home(host)
        yield _runtime_dir(host)
    yield _user_namespaces(host)
    yield from _id_mappers(host)
    if ordinary:
        yield from _subordinate_ids(host)
    yield _podman(host)
    yield _command(host, "skopeo", wanted="copies images byte for byte", needed=True)
    yield _command(host, "mmdebstrap", wanted="makes bases of Debian packages", needed=debian_bases)
    if not ordinary:
        return
    yield _sealed(host)
    if isinstance(host.engine, Engine):
        yield _runtime(host, host.engine)
        yield _storage_driver(host.engine)
        yield _cgroups(host, host.engine)
        yield _disk(host, "disk: podman", host.engine.graph, "podman system prune --all")
    else:
        for name in ("OCI runtime", "storage driver", "cgroups", "disk: podman"):
            yield Check(name=name, ok=None, found=f"not looked at: {host.engine}")
    yield _disk(host, "disk: store", host.store, "export RBUILD_STORE=/A/LARGER/DISK/rbuild")


def _user(host: Host) -> Check:
    if host.uid != 0:
        return Check(name="user", ok=True, found=f"{host.user} (uid {host.uid})")
    return Check(
        name="user",
        ok=False,
        found="root; rbuild is run as an ordinary user",
        fix="useradd --create-home --shell /bin/bash NAME && su - NAME",
    )


def _home(host: Host) -> Check:
    usable = host.home.exists and host.home.writable
    return Check(
        name="home",
        ok=usable,
        found=f"{host.home.path}" if usable else f"{host.home.path} is not a folder that you may write to",
        fix=None if usable else f"sudo install -d -m 700 -o {host.user} {host.home.path}",
    )


def _runtime_dir(host: Host) -> Check:
    folder = host.runtime_dir
    name = "XDG_RUNTIME_DIR"
    usual = f"/run/user/{host.uid}"
    make = f"sudo install -d -m 700 -o {host.user} {folder.path if folder else usual}"
    if folder is None:
        return Check(name=name, ok=False, found="not set", fix=f"{make} && export XDG_RUNTIME_DIR={usual}")
    if not folder.exists:
        return Check(name=name, ok=False, found=f"{folder.path} is not there", fix=make)
    if folder.owner != host.uid:
        return Check(
            name=name,
            ok=False,
            found=f"{folder.path} belongs to uid {folder.owner}",
            fix=f"sudo install -d -m 700 -o {host.user} {usual} && export XDG_RUNTIME_DIR={usual}",
        )
    if folder.mode != 0o700:
        return Check(
            name=name,
            ok=False,
            found=f"{folder.path} has mode {folder.mode:o}, not 700",
            fix=f"chmod 700 {folder.path}",
        )
    return Check(name=name, ok=True, found=str(folder.path))


def _podman(host: Host) -> Check:
    if host.podman is None:
        return Check(name="podman", ok=False, found="not installed", fix=_install(host, "podman"))
    if isinstance(host.podman, str):
        return Check(name="podman", ok=False, found=host.podman, fix=_install(host, "podman"))
    version = ".".join(map(str, host.podman))
    if host.podman < OLDEST_PODMAN:
        oldest = ".".join(map(str, OLDEST_PODMAN[:2]))
        return Check(
            name="podman", ok=False, found=f"{version}, older than {oldest}", fix=_install(host, "podman")
        )
    if isinstance(host.engine, str) and host.uid != 0:
        return Check(
            name="podman",
            ok=False,
            found=f"{version}, but it does not work: {host.engine}",
            fix=_mending(host, host.engine),
        )
    return Check(name="podman", ok=True, found=version)


def _mending(host: Host, said: str) -> str:
    """The line for a Podman that ends with an error, by what it says."""
    if runtime := re.search(r'OCI runtime "([a-z]+)" not found', said):
        return _install(host, runtime[1])
    if re.search(r"graph driver|database|storage\.conf", said):
        return "podman system reset --force && podman info"
    # Its user namespace is made anew, with the ids and the run folder of now.
    return "podman system migrate && podman info"


def _command(host: Host, name: str, *, wanted: str, needed: bool) -> Check:
    path = host.commands[name]
    if path:
        return Check(name=name, ok=True, found=path)
    return Check(
        name=name, ok=False if needed else None, found=f"not installed; it {wanted}", fix=_install(host, name)
    )


def _user_namespaces(host: Host) -> Check:
    name = "user namespaces"
    if host.user_namespace.worked:
        return Check(name=name, ok=True, found="allowed")
    if host.commands["unshare"] is None:
        return Check(name=name, ok=False, found="unshare: not installed", fix=_install(host, "unshare"))
    fix = _allowed_by(
        host,
        ("kernel.unprivileged_userns_clone", 0, 1),
        ("user.max_user_namespaces", 0, _NAMESPACES),
        ("kernel.apparmor_restrict_unprivileged_userns", 1, 0),
    )
    return Check(name=name, ok=False, found=f"refused: {host.user_namespace.said}", fix=fix)


def _id_mappers(host: Host) -> Iterator[Check]:
    for mapper in host.mappers:
        if mapper.path is None:
            yield Check(name=mapper.name, ok=False, found="not installed", fix=_install(host, mapper.name))
        elif mapper.privileged:
            yield Check(name=mapper.name, ok=True, found=mapper.path)
        else:
            yield Check(
                name=mapper.name,
                ok=False,
                found=f"{mapper.path} has neither the setuid bit nor a file capability",
                fix=f"sudo chmod u+s {mapper.path}",
            )


def _subordinate_ids(host: Host) -> Iterator[Check]:
    mapped = host.engine.mapped_ids if isinstance(host.engine, Engine) else 0
    enough = all(given.count >= _IDS for given in host.subordinate.values())
    for file, flag in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
        name = file.rpartition("/")[2]
        given = host.subordinate[file]
        if mapped > _IDS:
            # The mapping itself says more than the file: the ranges may come from a directory service.
            yield Check(name=name, ok=True, found=f"{mapped - 1} ids for {host.user}")
        elif given.count < _IDS:
            first = given.unused
            yield Check(
                name=name,
                ok=False,
                found=f"{given.count} ids for {host.user} in {file}, {_IDS} are needed",
                fix=f"sudo usermod {flag} {first}-{first + _IDS - 1} {host.user} && podman system migrate",
            )
        elif mapped and enough:
            yield Check(
                name=name,
                ok=False,
                found=f"{given.count} ids for {host.user}, but Podman still runs without them",
                fix="podman system migrate",
            )
        else:
            yield Check(name=name, ok=True, found=f"{given.count} ids for {host.user}")


def _allowed_by(host: Host, *settings: tuple[str, int, int]) -> str:
    """The line for the first of the kernel's settings (name, value that refuses, value that allows)."""
    for setting, refuses, allows in settings:
        if host.settings.get(setting) == refuses:
            return f"echo {setting}={allows} | sudo tee /etc/sysctl.d/90-rbuild.conf && sudo sysctl --system"
    if host.container:
        return f"exit, and start this container with more rights: {host.container} run --privileged …"
    return "sudo dmesg | grep -iE 'apparmor|selinux|seccomp|lockdown' | tail -n 5"


def _sealed(host: Host) -> Check:
    name = "sealed network"
    if host.sealed is None:
        return Check(name=name, ok=None, found=f"not looked at: {host.engine}")
    if host.sealed.worked:
        return Check(name=name, ok=True, found="a build can have a network namespace of its own")
    fix = _allowed_by(host, ("user.max_net_namespaces", 0, _NAMESPACES))
    return Check(name=name, ok=False, found=f"refused: {host.sealed.said}", fix=fix)


def _runtime(host: Host, engine: Engine) -> Check:
    name = "OCI runtime"
    if engine.runs.worked:
        return Check(name=name, ok=True, found=engine.runtime or "runs a container")
    found = f"{engine.runtime or 'the configured runtime'} does not run a container here: {engine.runs.said}"
    choose = _configured(f'[engine]\\nruntime = "{engine.other_runtime or "runc"}"')
    if engine.other_runtime:
        return Check(name=name, ok=False, found=found, fix=choose)
    if host.commands["runc"] is None:
        return Check(name=name, ok=False, found=found, fix=f"{_install(host, 'runc')} && {choose}")
    if re.search("cgroup|sd-bus|dbus|systemd", engine.runs.said):
        # Without a session of systemd's, nobody hands out cgroups.
        return Check(
            name=name, ok=False, found=found, fix=_configured('[engine]\\ncgroup_manager = "cgroupfs"')
        )
    return Check(name=name, ok=False, found=found, fix=_install(host, engine.runtime or "runc", again=True))


def _configured(text: str) -> str:
    """The line that gives Podman a configuration of the user's; `text` is as printf takes it."""
    return f"mkdir -p {_RUNTIME_CONF.rpartition('/')[0]} && printf '{text}\\n' > {_RUNTIME_CONF}"


def _storage_driver(engine: Engine) -> Check:
    name = "storage driver"
    if engine.driver == "overlay" and engine.mount_program:
        found = (
            f"overlay by {engine.mount_program}, which builds wrongly: stages are built in the store instead"
        )
        return Check(name=name, ok=True, found=found)
    if engine.driver != "vfs":
        return Check(name=name, ok=True, found=engine.driver)
    config = engine.storage_config
    write = f"mkdir -p {config.parent} && printf '[storage]\\ndriver = \"overlay\"\\n' > {config}"
    if engine.configured:
        write = f"sed -i 's/^ *driver *=.*/driver = \"overlay\"/' {config}"
    return Check(
        name=name,
        ok=None,
        found="vfs: every layer is a full copy of those below; slow, and many times the disk space "
        "(the line below removes all of Podman's images and containers)",
        fix=f"podman system reset --force && {write}",
    )


def _cgroups(host: Host, engine: Engine) -> Check:
    name = "cgroups"
    if host.cgroups != "v2":
        return Check(
            name=name,
            ok=None,
            found=f"{host.cgroups}: no limits of memory or processes without root",
            fix=_kernel_option(host, "systemd.unified_cgroup_hierarchy=1"),
        )
    if missing := sorted(_LIMITS - engine.controllers):
        return Check(
            name=name,
            ok=None,
            found=f"v2, but {' and '.join(missing)} cannot be limited without root",
            fix="sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=yes\\n' | "
            "sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload && "
            f"sudo systemctl restart user@{host.uid}.service",
        )
    return Check(name=name, ok=True, found="v2")


def _disk(host: Host, name: str, folder: Folder, fix: str) -> Check:
    found = f"{folder.free / _GIB:.1f} GiB free in {folder.path}"
    if not folder.writable:
        own = f"sudo install -d -m 700 -o {host.user} {folder.path}"
        return Check(name=name, ok=False, found=f"{folder.path}: you may not write there", fix=own)
    if folder.free < _FREE_NEEDED:
        return Check(name=name, ok=False, found=f"only {found}", fix=fix)
    if folder.free < _FREE_WANTED:
        return Check(name=name, ok=None, found=f"only {found}", fix=fix)
    return Check(name=name, ok=True, found=found)


def _install(host: Host, command: str, *, again: bool = False) -> str:
    package = _PACKAGES.get(command, command)
    if host.commands["apt-get"]:
        return f"sudo apt-get install {'--reinstall ' if again else ''}--no-install-recommends {package}"
    return f"install the package {package} of this distribution{' anew' if again else ''}"


def _kernel_option(host: Host, option: str) -> str:
    if host.commands["apt-get"]:
        edit = f"sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{option} /' /etc/default/grub"
        return f"{edit} && sudo update-grub && sudo reboot"
    return f"sudo grubby --update-kernel=ALL --args={option} && sudo reboot"
