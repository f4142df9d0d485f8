"""Where an image goes: a repository as its registry wants it named, and tags from templates.

Sources: docs.docker.com, "Repositories"; docs.quay.io, "Creating a repository"; docs.github.com, "Working
with the Container registry"; docs.gitlab.com, "Naming convention for your container images".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rbuild.errors import RbuildError
from rbuild.reference import Reference
from rbuild.suggest import did_you_mean

PLACEHOLDERS: Final = ("stage", "version", "git", "input")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_LONGEST_INPUT = 12  # hexadecimal digits of an input digest in a tag
_HOST = re.compile(r"[^/]*[.:][^/]*\Z|localhost\Z")
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io", "hub.docker.com")


@dataclass(frozen=True, slots=True)
class Destination:
    """A registry, and the path in it below which a project's images go."""

    registry: str
    path: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Read `host[:port][/path]`. Raises RbuildError for what is no such name, or not that registry's."""
        host, _, rest = text.removeprefix("docker://").partition("/")
        path = tuple(rest.removesuffix("/").split("/")) if rest.strip("/") else ()
        found = cls("docker.io" if host in _DOCKER_HUB else host, path)
        try:
            usable = _HOST.match(host) and found.repository("project", "stage").registry == found.registry
        except RbuildError:
            usable = False
        if not usable:
            raise RbuildError(
                f"not a registry: {text[:200]!r}", hint="write host and path, such as quay.io/team"
            )
        found._check(text)
        return found

    def repository(self, project: str, stage: str) -> Reference:
        """The name of a stage's image there, without tag and digest.

        Docker Hub and Quay have one level below the account; everywhere else the project is one, and the
        stage another. Raises RbuildError for a name that would be too long.
        """
        flat = self.registry in ("docker.io", "quay.io")
        name = (f"{project}-{stage}",) if flat else (project, stage)
        parsed = Reference.parse("/".join((self.registry, *self.path, *name)))
        return Reference(parsed.registry, parsed.repository)

    def _check(self, text: str) -> None:
        match self.registry:
            case "docker.io":
                self._needs(text, len(self.path) == 1, "docker.io/USER: Docker Hub has one level below it")
            case "quay.io":
                self._needs(text, len(self.path) == 1, "quay.io/ORGANISATION: Quay has one level below it")
            case "ghcr.io":
                self._needs(text, bool(self.path), "ghcr.io/OWNER")
            case "registry.gitlab.com":
                self._needs(text, len(self.path) >= 2, "registry.gitlab.com/GROUP/PROJECT")

    def _needs(self, text: str, fits: bool, form: str) -> None:
        if not fits:
            raise RbuildError(f"not where images can go: {text[:200]!r}", hint=f"write {form}")

    def __str__(self) -> str:
        return "/".join((self.registry, *self.path))


def check_template(template: str) -> None:
    """Raise RbuildError for a tag template with an unknown placeholder, or one that can make no tag."""
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
            raise RbuildError(
                f"{{{name[:40]}}} is nothing that a tag can be made of",
                hint=did_you_mean(name, PLACEHOLDERS) or f"there are {known}",
            )
    _checked(_PLACEHOLDER.sub("x", template), template)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The tag that a template makes of the values of its placeholders. Raises RbuildError if it is no tag."""
    check_template(template)
    return _checked(_PLACEHOLDER.sub(lambda match: values[match[1]], template), template)


def placeholders(template: str) -> frozenset[str]:
    """What a template's values are asked for."""
    return frozenset(_PLACEHOLDER.findall(template))


def shortened(hexadecimal: str) -> str:
    """An input digest as it stands in a tag."""
    return hexadecimal[:_LONGEST_INPUT]


def _checked(tag: str, template: str) -> str:
    if not _TAG.match(tag):
        raise RbuildError(
            f"{template[:200]!r} makes no tag: {tag[:200]!r}",
            hint="a tag has up to 128 letters, digits, '_', '.' and '-', and starts with a letter or digit",
        )
    return tag
