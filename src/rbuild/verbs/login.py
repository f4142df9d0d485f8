"""`rbuild login`: becomes `podman login`, whose auth file rbuild reads as well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NoReturn

from rbuild.errors import RbuildError
from rbuild.registry.transport import is_loopback


def login(registry: str, env: Mapping[str, str]) -> NoReturn:
    """Let Podman ask for user and password; does not come back. Raises RbuildError without Podman."""
    argv = ["podman", "login"]
    if is_loopback(registry.partition("/")[0]):
        argv.append("--tls-verify=false")  # as rbuild itself, it takes a registry on this host as it is
    try:
        os.execvpe("podman", [*argv, "--", registry], dict(env))
    except OSError as error:
        raise RbuildError(
            f"podman: {error.strerror}", hint="rbuild doctor names the line that installs it"
        ) from error
