"""What a `RUN` finds besides its own image: variables and files, none of which stay in the image.

The variables stand in the configuration of the base that Podman is handed: `podman build --env` misses the
first RUN on Podman 4.3, and an ENV in the Containerfile comes too late for a base's ONBUILD.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def variables(epoch: int) -> Mapping[str, str]:
    """The variables that every RUN of a stage with this epoch sees."""
    return {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0", **_TRUST}


def write_mount(folder: Path, certificate: bytes) -> None:
    """Fill the folder that is mounted at MOUNT."""
    folder.mkdir()
    for name, data in (
        ("ca.pem", certificate),
        ("wgetrc", _WGETRC.encode()),
        ("apt.conf", _APT_CONF.encode()),
    ):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
    folder.chmod(0o755)
