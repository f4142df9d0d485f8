"""What a `RUN` finds besides its own image: variables and files, none of which stay in the image.

The variables stand in the configuration of the base that Podman is handed: `podman build --env` misses the
first RUN on Podman 4.3, and an ENV in the Containerfile comes too late for a base's ONBUILD.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MOUNT = "/.rbuild"
_CA = f"{MOUNT}/ca.pem"

# How the usual clients are told which authorities to trust.
_TRUST = {
    "SSL_CERT_FILE": _CA,  # OpenSSL, Go, uv, Python's ssl
    "REQUESTS_CA_BUNDLE": _CA,  # requests, conda
    "CURL_CA_BUNDLE": _CA,
    "GIT_SSL_CAINFO": _CA,
    "PIP_CERT": _CA,
    "NODE_EXTRA_CA_CERTS": _CA,
    "NPM_CONFIG_CAFILE": _CA,
    "CARGO_HTTP_CAINFO": _CA,
    "WGETRC": f"{MOUNT}/wgetrc",
    "APT_CONFIG": f"{MOUNT}/apt.conf",
}
_WGETRC = f"ca_certificate = {_CA}\n"
_APT_CONF = f'Acquire::https::CAInfo "{_CA}";\n'
# An index that is replayed may be years old, and is what the image was made of.
_APT_REPLAY = 'Acquire::Check-Date "false";\nAcquire::Check-Valid-Until "false";\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Another clock than the host's: libfaketime (its `library`, of the host), `ahead` in seconds.

    Programs that are linked statically, or with another C library than the host's, go by the host's clock.
    """

    library: Path
    ahead: int

    @property
    def variables(self) -> Mapping[str, str]:
        """What makes the programs of a RUN go by this clock; their timers and files keep their times."""
        return {
            "LD_PRELOAD": f"{MOUNT}/{self.library.name}",
            "FAKETIME": f"+{self.ahead}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


def variables(epoch: int, clock: Clock | None = None) -> Mapping[str, str]:
    """The variables that every RUN of a stage with this epoch sees."""
    return {
        "SOURCE_DATE_EPOCH": str(epoch),
        "PYTHONHASHSEED": "0",
        **_TRUST,
        **(clock.variables if clock else {}),
    }


def write_mount(folder: Path, certificate: bytes, *, replays: bool, clock: Clock | None = None) -> None:
    """Fill the folder that is mounted at MOUNT; `replays`: some of what the build reads is recorded."""
    folder.mkdir()
    apt_conf = _APT_CONF + (_APT_REPLAY if replays else "")
    for name, data in (
        ("ca.pem", certificate),
        ("wgetrc", _WGETRC.encode()),
        ("apt.conf", apt_conf.encode()),
    ):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
    if clock:
        shutil.copyfile(clock.library, folder / clock.library.name)
        (folder / clock.library.name).chmod(0o755)
    folder.chmod(0o755)
