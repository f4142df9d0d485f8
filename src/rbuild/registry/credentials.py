"""Who one is to a registry: the auth files of Podman and Docker, and their credential helpers.

Sources: containers-auth.json(5); docker-credential-helpers, "Development". Secrets stay in memory: none is in
a representation, an error or an argument of a command.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbuild.errors import RbuildError, Where
from rbuild.process import run

_MAX_FILE = 1 << 20
_HELPER = re.compile(r"[A-Za-z0-9._-]+\Z")
_DOCKER_HUB = ("docker.io", "index.docker.io/v1", "index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"
_HELPER_TIMEOUT = 60  # seconds; one may ask a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user and a password, or a token that registries take for one that is good for a while."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def credentials_for(registry: str, repository: str, env: Mapping[str, str]) -> Credentials | None:
    """The credentials for a repository; None: nobody has logged in there.

    The first file that knows the registry counts, and in it the longest key that leads to the repository.
    Raises RbuildError for a file that is none, and for a helper that fails.
    """
    for path in auth_files(env):
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise RbuildError(f"cannot be read: {error.strerror}", where=Where(file=str(path))) from error
        found = _in_file(_document(data, path), registry, repository, path, env)
        if found:
            return found
    return None


def auth_files(env: Mapping[str, str]) -> list[Path]:
    """Where credentials may be, in the order in which they are looked for."""
    if chosen := env.get("REGISTRY_AUTH_FILE"):
        return [Path(chosen)]
    home = Path(env.get("HOME", "/nonexistent"))
    files = []
    if runtime := env.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime, "containers", "auth.json"))
    files.append(Path(env.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json"))
    files.append(Path(env.get("DOCKER_CONFIG") or home / ".docker", "config.json"))
    return files


def _document(data: bytes, path: Path) -> dict[str, Any]:
    where, hint = Where(file=str(path)), "podman login REGISTRY writes it anew"
    if len(data) > _MAX_FILE:
        raise RbuildError("is too large for a file of credentials", where=where, hint=hint)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        # What json says would quote from the file.
        raise RbuildError("is not JSON", where=where, hint=hint) from None
    if not isinstance(found, dict):
        raise RbuildError("is not a file of credentials", where=where, hint=hint)
    return found


def _in_file(
    document: dict[str, Any], registry: str, repository: str, path: Path, env: Mapping[str, str]
) -> Credentials | None:
    helpers = _mapping(document.get("credHelpers"))
    auths = {_plain(key): value for key, value in _mapping(document.get("auths")).items()}
    for name in _names(registry, repository):
        helper = helpers.get(name)
        if isinstance(helper, str) and (found := _asked(helper, name, env)):
            return found
        entry = auths.get(name)
        if isinstance(entry, dict) and (found := _entry(entry, name, path)):
            return found
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        server = "https://index.docker.io/v1/" if registry == "docker.io" else registry
        return _asked(store, server, env)
    return None


def _names(registry: str, repository: str) -> Iterator[str]:
    """The keys that may stand for a repository, the most specific first."""
    parts = repository.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join((registry, *parts[:count]))
    yield from _DOCKER_HUB if registry == "docker.io" else (registry,)


def _plain(key: str) -> str:
    """A key of `auths` as Docker may have written it: with a scheme, a slash, or the API's version."""
    plain = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    return plain if plain.startswith("index.docker.io") else plain.removesuffix("/v1").removesuffix("/v2")


def _entry(entry: dict[str, Any], name: str, path: Path) -> Credentials | None:
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Credentials(identity_token=token)
    if not isinstance(auth, str) or not auth:
        return None
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        username = colon = password = ""
    if not colon:
        raise RbuildError(
            f"the credentials for {name} are not base64 of user:password",
            where=Where(file=str(path), key=f"auths.{name}"),
            hint=f"podman login {name.partition('/')[0]} writes them anew",
        )
    return Credentials(username=username, password=password.rstrip("\0"))


def _asked(helper: str, server: str, env: Mapping[str, str]) -> Credentials | None:
    """What a credential helper says; its answer is never shown."""
    if not _HELPER.match(helper):
        raise RbuildError(f"not the name of a credential helper: {helper[:80]!r}")
    program = f"docker-credential-{helper}"
    done = run([program, "get"], env=env, stdin=server.encode(), check=False, timeout=_HELPER_TIMEOUT)
    if done.returncode != 0:
        if "not found" in (done.stdout + done.stderr).lower():
            return None
        raise RbuildError(
            f"{program} has no credentials for {server}: it ended with {done.returncode}",
            hint=f"podman login {server}",
        )
    try:
        answer = json.loads(done.stdout)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError):
        raise RbuildError(f"{program} did not answer as credential helpers do") from None
    if username == _TOKEN_USER:
        return Credentials(identity_token=str(secret))
    return Credentials(username=str(username), password=str(secret))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
