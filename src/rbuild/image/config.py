"""Image configurations: OCI image specification, "Image Configuration", and the keys that Docker adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import canonical_json, read_json, typed

_MAX_BYTES = 8 << 20
_BUILDER_LABEL = "io.buildah.version"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's words: `linux/amd64`, `linux/arm/v7`."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read os/architecture[/variant]; raises RbuildError for anything else."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(part.isalnum() and part.islower() for part in parts):
            raise RbuildError(f"not a platform: {text[:80]!r}", hint="write it like linux/amd64")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """How a container is asked whether it is well; times in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Execution(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """How a container of the image is run: the `config` object."""

    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instruction, as its Containerfile has it."""

    created: str | None = None  # of the build's own part: left out, and set to the epoch
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The layers by the digests of their uncompressed tars, lowest first."""

    type: str = "layers"
    diff_ids: list[str]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """An image configuration, as OCI or Docker write it; what neither specifies is left out."""

    os: str
    architecture: str
    variant: str = ""
    created: str | None = None
    author: str = ""
    config: Execution | None = None
    rootfs: RootFs
    history: list[HistoryEntry] | None = None

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """Of the layers, lowest first."""
        return tuple(map(Digest.parse, self.rootfs.diff_ids))

    @property
    def platform(self) -> Platform:
        """What the image runs on."""
        return Platform(self.os, self.architecture, self.variant or None)


def read_config(data: bytes) -> Config:
    """Read a configuration; raises RbuildError for what is none, or could be read in two ways."""
    what = "the image configuration"
    config = typed(read_json(data, what, _MAX_BYTES), Config, what)
    if config.rootfs.type != "layers":
        raise RbuildError(
            f"{what} has a root file system of the type {config.rootfs.type[:80]!r}, not layers"
        )
    _ = config.diff_ids  # checks them
    return config


def canonical_config(
    committed: Config,
    *,
    base: Config | None,
    injected_env: Mapping[str, str],
    epoch: int,
    platform: Platform,
    history: Sequence[HistoryEntry],
    diff_ids: Sequence[Digest],
) -> bytes:
    """The canonical configuration of what Podman committed.

    `base` is the configuration of the image that the build began from; None for `FROM scratch`. A variable
    of `injected_env` that still has the injected value gets the base's own back, or goes. `history` is the
    build's own part, which follows the base's; `diff_ids` are of all layers, lowest first.
    Raises RbuildError if history and layers do not fit together.
    """
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    own = [msgspec.structs.replace(entry, created=created) for entry in history]
    entries = [*(base_history(base) if base else ()), *own]
    if sum(not entry.empty_layer for entry in entries) != len(diff_ids):
        raise RbuildError(
            f"the image has {len(diff_ids)} layers, and its history names another number",
            hint="this is an error of rbuild itself: please report it with the Containerfile",
        )
    before = base.config if base and base.config else Execution()
    after = committed.config or Execution()
    execution = msgspec.structs.replace(
        after,
        env=_env(after.env or [], before.env or [], injected_env),
        labels={name: text for name, text in (after.labels or {}).items() if name != _BUILDER_LABEL},
        working_dir=after.working_dir or "/",
    )
    value = {
        "created": created,
        "author": committed.author,
        "architecture": platform.architecture,
        "variant": platform.variant,
        "os": platform.os,
        "config": msgspec.to_builtins(execution),
        "rootfs": {"type": "layers", "diff_ids": list(map(str, diff_ids))},
        "history": msgspec.to_builtins(entries),
    }
    value["config"] = _present(value["config"])
    return canonical_json(_present(value))


def base_history(base: Config) -> list[HistoryEntry]:
    """The base's history; made up where it does not fit the layers, each of which needs an entry."""
    entries = base.history or []
    if sum(not entry.empty_layer for entry in entries) == len(base.rootfs.diff_ids):
        return entries
    return [HistoryEntry(comment="layer of the base") for _ in base.rootfs.diff_ids]


def _present(value: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if part not in (None, "", [], {})}


def _env(after: Sequence[str], before: Sequence[str], injected: Mapping[str, str]) -> list[str]:
    """The variables in the base's order, then the build's own as it set them, without the injected ones."""
    old = _variables(before)
    new = _variables(after)
    for name, value in injected.items():
        if new.get(name) != value:
            continue
        if name in old:
            new[name] = old[name]
        else:
            del new[name]
    order = [*(name for name in old if name in new), *(name for name in new if name not in old)]
    return [f"{name}={new[name]}" for name in order]


def _variables(env: Sequence[str]) -> dict[str, str]:
    variables = {}
    for each in env:
        name, _, value = each.partition("=")
        variables[name] = value
    return variables
