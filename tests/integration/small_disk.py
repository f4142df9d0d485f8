"""Runs a command as the caller, where one folder is a small file system of its own. No root is needed.

    podman unshare unshare --mount --pid --fork --kill-child --mount-proc \\
        python3 small_disk.py FOLDER SIZE UID GID -- COMMAND…

`podman unshare` gives a user namespace with the caller as root and its subordinate ids, in which a tmpfs
may be mounted. In one more user namespace the caller is itself again, with subordinate ids of its own:
there, rootless Podman works as it does outside.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct
import subprocess
import sys
from pathlib import Path

FIRST, COUNT = 100_000, 60_000
CLONE_NEWUSER = 0x10000000
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_SETGID, CAP_SETUID = 6, 7
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def as_the_caller(uid: int, gid: int) -> None:
    """Enter a user namespace with the caller's own ids, able to hand out the subordinate ones."""
    asked, answer = os.pipe(), os.pipe()
    parent = os.getpid()
    if os.fork() == 0:  # whoever is still outside writes the maps
        os.read(asked[0], 1)
        for kind, own in (("uid", uid), ("gid", gid)):
            Path(f"/proc/{parent}/{kind}_map").write_text(f"{own} 0 1\n{FIRST} 1 {COUNT}\n")
        os.write(answer[1], b"x")
        os._exit(0)
    check(libc.unshare(CLONE_NEWUSER))
    os.write(asked[1], b"x")
    os.read(answer[0], 1)
    os.wait()
    # newuidmap is set-uid to a root that this namespace does not know: it gets its capabilities from here.
    wanted = 1 << CAP_SETGID | 1 << CAP_SETUID
    header = struct.pack("Ii", 0x20080522, 0)
    data = struct.pack("6I", wanted, wanted, wanted, 0, 0, 0)
    check(libc.capset(header, data))
    for capability in (CAP_SETGID, CAP_SETUID):
        check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def main() -> None:
    folder, size, uid, gid, _, *command = sys.argv[1:]
    mount("-t", "tmpfs", "-o", f"size={size},mode=700", "none", folder)
    ids = Path(folder).parent / "subordinate-ids"
    ids.write_text(f"{pwd.getpwuid(int(uid)).pw_name}:{FIRST}:{COUNT}\n")
    for name in ("subuid", "subgid"):
        mount("--bind", str(ids), f"/etc/{name}")
    as_the_caller(int(uid), int(gid))
    # Podman would believe to be in its own user namespace already.
    env = {name: value for name, value in os.environ.items() if not name.startswith("_CONTAINERS_")}
    os.execvpe(command[0], command, env)


if __name__ == "__main__":
    main()
