"""registries.d: whether signatures lie beside the images. Source: containers-registries.d(5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rbuild.errors import Problem, RbuildError
from rbuild.reference import Reference
from rbuild.trust.policy import scopes
from rbuild.yamlfile import MIB, Document, Scalar
from rbuild.yamlfile import Mapping as MappingNode

_KEYS: Final = (
    "lookaside",
    "lookaside-staging",
    "sigstore",
    "sigstore-staging",
    "use-sigstore-attachments",
)
_TRUE = ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """Where `use-sigstore-attachments` is on: by default, and by scope."""

    default: bool = False
    scoped: Mapping[str, bool] = field(default_factory=dict)

    def used(self, image: Reference) -> bool:
        """Whether an image's signatures are looked for beside it. The most specific scope alone counts."""
        return next((self.scoped[scope] for scope in scopes(image) if scope in self.scoped), self.default)


def read_attachments(files: Iterable[tuple[str, bytes]]) -> Attachments:
    """Read the files of a registries.d folder, by name. Raises RbuildError with all that is wrong in them."""
    default: bool | None = None
    scoped: dict[str, bool] = {}
    problems: list[Problem] = []
    for name, data in files:
        try:
            document = Document(data, file=name, max_size=MIB, max_nodes=20_000)
            own, found = _read(document, default is not None, scoped)
            document.finish()
        except RbuildError as error:
            problems += error.problems
            continue
        default = own if own is not None else default
        scoped |= found
    if problems:
        raise RbuildError(problems)
    return Attachments(default=bool(default), scoped=scoped)


def _read(
    document: Document, defaulted: bool, known: Mapping[str, bool]
) -> tuple[bool | None, dict[str, bool]]:
    if not isinstance(document.root, MappingNode):
        document.problem("is not a mapping")
        return None, {}
    for key in document.root.items:
        if key not in ("docker", "default-docker"):
            document.problem("is not known here", key, hint="there are docker and default-docker")
    own = None
    if document.node("default-docker") is not None:
        if defaulted:
            document.problem("is in another file, too", "default-docker", hint="keep one")
        own = _section(document, "default-docker")
    found = {}
    for scope in document.keys("docker"):
        if scope in known:
            document.problem("is in another file, too", "docker", scope, hint="keep one")
        found[scope] = _section(document, "docker", scope)
    return own, found


def _section(document: Document, *path: str) -> bool:
    for key in document.keys(*path):
        if key not in _KEYS:
            document.problem("is not known here", *path, key, hint=f"there are {', '.join(_KEYS)}")
    said = document.node(*path, "use-sigstore-attachments")
    if said is None:
        return False
    if isinstance(said, Scalar) and said.plain and said.text in (*_TRUE, *_FALSE):
        return said.text in _TRUE
    document.problem("is neither true nor false", *path, "use-sigstore-attachments")
    return False
