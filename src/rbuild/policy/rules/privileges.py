"""Rules about what gives a container's user more: setuid files, capabilities, open folders, sudo."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from rbuild.image.tar import Kind
from rbuild.policy.facts import FileEntry, ImageFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule
from rbuild.policy.sightings import PathSettings, Sight

_SETUID, _STICKY, _OTHERS_WRITE = 0o4000, 0o1000, 0o002
_CAPABILITY = "security.capability"
# capabilities(7), in the order of their numbers.
_CAPABILITIES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]
_SUDO = frozenset(
    f"{folder}/{name}"
    for folder in ("bin", "usr/bin", "usr/local/bin")
    for name in ("sudo", "sudoedit", "doas", "pkexec")
)


class _Added(Sight):
    """Something that the build added to visible files, and that the base did not have in the same place."""

    own_only = False
    odd_only = True

    def __init__(self, facts: ImageFacts, settings: PathSettings) -> None:
        super().__init__(facts, settings)
        self._added: dict[str, FileEntry] = {}

    def mark(self, entry: FileEntry) -> object:
        """What of the entry is to be said, as a value that can be compared; None or 0: nothing."""
        raise NotImplementedError

    def said(self, entry: FileEntry) -> str:
        """What to say of an entry, after its path."""
        raise NotImplementedError

    def take(self, entry: FileEntry) -> None:
        """An entry with a mark."""
        if entry.own:
            if entry.visible and len(self._added) < 10_000:
                self._added[entry.path] = entry
        elif (above := self._added.get(entry.path)) and self.mark(above) == self.mark(entry):
            del self._added[entry.path]

    def violations(self) -> Iterable[Violation]:
        for entry in self._added.values():
            self.say(entry, self.said(entry))
        self._added = {}
        return super().violations()


class _Setuid(_Added):
    def see(self, entry: FileEntry, content: bytes) -> None:
        if entry.mode & 0o6000 and entry.kind is not Kind.DIRECTORY:
            self.take(entry)

    def mark(self, entry: FileEntry) -> object:
        return entry.mode & 0o6000, entry.uid, entry.gid

    def said(self, entry: FileEntry) -> str:
        if entry.mode & _SETUID:
            return f"is setuid: whoever starts it is user {entry.uid}"
        return f"is setgid: whoever starts it is in group {entry.gid}"


class _Capable(_Added):
    def see(self, entry: FileEntry, content: bytes) -> None:
        if entry.xattrs and _CAPABILITY in entry.xattrs:
            self.take(entry)

    def mark(self, entry: FileEntry) -> object:
        return entry.xattrs[_CAPABILITY]

    def said(self, entry: FileEntry) -> str:
        return f"has the file capabilities {_capabilities(entry.xattrs[_CAPABILITY])}"


def _capabilities(data: bytes) -> str:
    """The permitted ones of linux/capability.h's vfs_cap_data, by name."""
    if len(data) not in (12, 20, 24):
        return "of an unknown form"
    words = struct.unpack_from(f"<{(len(data) - 4) // 4}I", data, 4)
    permitted = words[0] | (words[2] << 32 if len(words) > 2 else 0)
    names = [f"cap_{name}" for at, name in enumerate(_CAPABILITIES) if permitted >> at & 1]
    return ", ".join(names[:10]) or "none"


class _Writable(_Added):
    """World-writable files and folders; what lies in one is said with it."""

    def see(self, entry: FileEntry, content: bytes) -> None:
        if entry.mode & _OTHERS_WRITE and entry.kind is not Kind.SYMLINK and self.mark(entry):
            self.take(entry)

    def mark(self, entry: FileEntry) -> object:
        return not (entry.kind is Kind.DIRECTORY and entry.mode & _STICKY)

    def violations(self) -> Iterable[Violation]:
        top: FileEntry | None = None
        below: dict[str, int] = {}
        tops: list[FileEntry] = []
        for entry in sorted(self._added.values(), key=lambda one: (one.layer, one.path.split("/"))):
            if top and entry.layer == top.layer and entry.path.startswith(f"{top.path}/"):
                below[top.path] += 1
                continue
            top = entry
            below[top.path] = 0
            tops.append(entry)
        for entry in tops:
            count = below[entry.path]
            more = f", with {count} more in it" if count else ""
            self.say(entry, f"may be written by everybody (mode {entry.mode:04o}){more}")
        self._added = {}
        return super().violations()

    def said(self, entry: FileEntry) -> str:
        raise AssertionError("said with what lies in it")


class _Devices(Sight):
    odd_only = True

    def see(self, entry: FileEntry, content: bytes) -> None:
        if (entry.kind is Kind.CHAR or entry.kind is Kind.BLOCK) and entry.own:
            self.say(entry, f"is a {entry.kind.value} device")


class _Sudo(Sight):
    def see(self, entry: FileEntry, content: bytes) -> None:
        if entry.path in _SUDO and entry.own and entry.visible:
            self.say(entry, "lets a user become another one")


_ACCOUNTS = frozenset({"etc/shadow", "etc/passwd"})


class _Accounts(Sight):
    """Accounts without a password, and second roots, in what the build wrote."""

    reads = True

    def wants(self, entry: FileEntry) -> int:
        return 1 << 16 if entry.path in _ACCOUNTS and entry.own and entry.visible else 0

    def see(self, entry: FileEntry, content: bytes) -> None:
        if not content or entry.path not in _ACCOUNTS or not (entry.own and entry.visible):
            return
        for line in content.splitlines():
            name, *fields = line.split(b":")
            if not name or not fields or name.startswith(b"#"):
                continue
            said = name[:40].decode("ascii", "backslashreplace")
            if not fields[0]:
                self.say(entry, f"has the account {said}, which needs no password")
            elif entry.path == "etc/passwd" and name != b"root" and fields[1:2] == [b"0"]:
                self.say(entry, f"has the account {said}, which is root by its number 0")


RULES = (
    Rule(
        id="RB206",
        name="sudo-installed",
        title="The build put sudo, doas or pkexec into the image.",
        level=Level.ERROR,
        why="It is setuid root: one mistake in it, or in its configuration, makes the container's user root.",
        example="RUN apt-get install -y sudo",
        fix="do without it; give the user what it has to write by chown",
        settings=PathSettings,
        watch=_Sudo,
    ),
    Rule(
        id="RB207",
        name="setuid-file",
        title="The build added a setuid or setgid file.",
        level=Level.WARNING,
        why="Whoever runs it becomes its owner, or gets its group. Those of the base are not said: the rule "
        "is about what this build is answerable for.",
        example="RUN chmod u+s /usr/local/bin/tool",
        fix="RUN chmod a-s FILE in the same RUN that installs it; or do without the package",
        settings=PathSettings,
        watch=_Setuid,
    ),
    Rule(
        id="RB208",
        name="file-capabilities",
        title="The build gave a file capabilities.",
        level=Level.WARNING,
        why="Whoever runs it has them, as if it were setuid in part. A container that may not have them "
        "cannot start the file at all.",
        example="RUN setcap cap_net_bind_service=+ep /usr/local/bin/server",
        fix="leave setcap out: a port from 1024 on needs none, and `podman run --cap-add` says the rest",
        settings=PathSettings,
        watch=_Capable,
    ),
    Rule(
        id="RB209",
        name="world-writable",
        title="The build left a file or folder that everybody may write to.",
        level=Level.WARNING,
        why="Any user of the container, and any program that it starts, can replace what is in it.",
        example="RUN chmod -R 777 /app",
        fix="chown it to the user that writes there; chmod o-w; a folder for all gets chmod 1777, like /tmp",
        settings=PathSettings,
        watch=_Writable,
    ),
    Rule(
        id="RB210",
        name="device-node",
        title="The build left a device in the image.",
        level=Level.ERROR,
        why="A rootless Podman cannot unpack it, and whoever can has a way to the host's hardware.",
        example="ADD rootfs.tar /        # a tar that holds /dev/sda",
        fix="leave /dev out of what is added: the runtime makes the devices",
        settings=PathSettings,
        watch=_Devices,
    ),
    Rule(
        id="RB212",
        name="open-account",
        title="The build made an account without a password, or a second root.",
        level=Level.ERROR,
        why="Whoever gets to a login, su or ssh in the container is that user, or root.",
        example="RUN passwd -d root        # or: useradd -o -u 0 admin",
        fix="lock the account: passwd -l NAME; a user of its own number for each account",
        settings=PathSettings,
        watch=_Accounts,
    ),
)
