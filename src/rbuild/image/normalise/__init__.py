"""What builds are known to leave behind, and how it is made to hold still.

Each normaliser has a name, which the lock lists, and can be turned off by leaving it out. None touches what a
program reads to behave differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rbuild.image.form import NORMALISERS
from rbuild.image.normalise.caches import Cache
from rbuild.image.normalise.debian import LeftBehind, MachineId, ShadowDay
from rbuild.image.normalise.normaliser import (
    DROP,
    Blank,
    Content,
    Drop,
    Edits,
    LayerView,
    Normaliser,
    Outcome,
    Patch,
    edited,
)
from rbuild.image.normalise.python import Bytecode
from rbuild.image.normalise.temporary import BuildPaths

__all__ = [
    "DROP",
    "NORMALISERS",
    "Blank",
    "Content",
    "Drop",
    "Edits",
    "LayerView",
    "Normaliser",
    "Outcome",
    "Patch",
    "edited",
    "normalisers",
]

_ALL: tuple[Normaliser, ...] = (
    Bytecode(stamp_hashed=True),
    BuildPaths(),
    LeftBehind(
        "package-logs",
        rb"var/log/(?:apt/.+|(?:dpkg|alternatives|bootstrap)\.log)",
    ),
    LeftBehind("package-backups", rb"var/(?:cache/debconf|lib/dpkg)/[^/]+-old"),
    # The vfs storage driver also loses their changes where size and mtime stay the same.
    LeftBehind("account-backups", rb"etc/(?:passwd|shadow|group|gshadow|subuid|subgid)-"),
    LeftBehind("ldconfig-cache", rb"var/cache/ldconfig/aux-cache"),
    LeftBehind("apt-cache", rb"var/cache/apt/(?:[^/]+\.bin|archives/(?:partial/)?[^/]+\.deb)"),
    LeftBehind("apt-lists", rb"var/lib/apt/lists/.+"),
    ShadowDay(),
    MachineId(),
    Cache("pip-cache", rb".cache/pip"),
    Cache("uv-cache", rb".cache/uv"),
    Cache("npm-cache", rb".npm/_cacache", rb".npm/_logs", rb".npm/_update-notifier-last-checked"),
)

_BY_NAME = {each.name: each for each in _ALL}
_NEWEST: Mapping[str, Normaliser] = MappingProxyType({name: _BY_NAME[name] for name in NORMALISERS})
_FIRST = MappingProxyType({**_NEWEST, Bytecode.name: Bytecode(stamp_hashed=False)})


def normalisers(form: int) -> Mapping[str, Normaliser]:
    """The normalisers of a version of the canonical form, by name, in the order in which they are asked."""
    return _FIRST if form == 1 else _NEWEST
