"""What a place has, and which engines it can run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from axes import Engine
from places import USERS, Place, home_of

_ASKED = {
    "podman": "podman --version",
    "buildah": "buildah --version",
    "runc": "runc --version",
    "crun": "crun --version",
    "fuse-overlayfs": "fuse-overlayfs --version",
    "skopeo": "skopeo --version",
    "python": "/mnt/venv/bin/python --version",
    "zstd": "/mnt/venv/bin/python -c 'import zstandard; print(*zstandard.ZSTD_VERSION, sep=\".\")'",
    "git": "git --version",
}
# A container of the place's own /usr, with the program that is called for.
_CONTAINER = """\
mkdir -p ~/root/usr && ln -s usr/bin ~/root/bin && ln -s usr/lib ~/root/lib && ln -s usr/lib64 ~/root/lib64
podman --runtime {runtime} run --rm --network none --volume /usr:/usr:ro --rootfs ~/root /usr/bin/true
"""
_DRIVER = """\
mkdir -p ~/.config/containers
cat > ~/.config/containers/storage.conf <<'END'
[storage]
driver = "overlay"
[storage.options.overlay]
mount_program = "/usr/bin/fuse-overlayfs"
END
podman info --format '{{.Store.GraphDriverName}}'
"""


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a place's programs, by name; "" for what is not there."""

    texts: dict[str, str]

    def __getitem__(self, program: str) -> str:
        return self.texts[program]

    @property
    def podman(self) -> tuple[int, ...]:
        return tuple(map(int, self["podman"].split(".")[:3]))


def versions(place: Place, cache: Path) -> Versions:
    """Ask each program of a place for its version."""
    user = USERS["one"]
    found = {}
    with home_of(user, cache) as home:
        for name, command in _ASKED.items():
            said = place.run(user, home, ["sh", "-c", command], timeout=60).stdout
            version = re.search(rf"{name if name == 'fuse-overlayfs' else ''}\D*?(\d+(?:\.\d+)+)", said)
            found[name] = version[1] if version else ""
    return Versions(found)


def refusal(engine: Engine, place: Place, cache: Path) -> str | None:
    """Why this host cannot run an engine; None if it can."""
    user = USERS["one"]
    with home_of(user, cache) as home:
        if engine.driver == "fuse-overlayfs":
            done = place.run(user, home, ["sh", "-c", _DRIVER], timeout=120)
            if done.returncode != 0:
                return _last(done.stderr)
        if engine.isolation != "chroot":
            script = _CONTAINER.format(runtime=engine.isolation)
            done = place.run(user, home, ["sh", "-c", script], timeout=120)
            if done.returncode != 0:
                return _last(done.stderr)
    return None


def _last(said: str) -> str:
    return (said.strip().splitlines() or ["no reason given"])[-1]
