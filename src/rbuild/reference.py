"""Names of images, as registries and Containerfiles write them.

Grammar and defaults: https://github.com/distribution/reference (`docker.io` and `library/` are implied).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from rbuild.digest import Digest
from rbuild.errors import RbuildError

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """registry/repository[:tag][@digest], fully qualified."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as `FROM` and `podman pull` take it.

        A name without a registry means `docker.io`, one without a tag and digest the tag `latest`.
        Raises RbuildError for what the grammar does not allow.
        """
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, slash, tail = rest.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost"):
            registry, path = head, tail
        else:
            registry, path = "docker.io", rest
        path, colon, tag_text = path.partition(":")
        tag = tag_text if colon else None
        if registry in ("docker.io", "index.docker.io"):
            registry = "docker.io"
            if "/" not in path:
                path = f"library/{path}"
        wrong = (
            not _REGISTRY.match(registry)
            or not all(_COMPONENT.match(part) for part in path.split("/"))
            or len(path) > 255
            or (tag is not None and not _TAG.match(tag))
        )
        if wrong:
            raise RbuildError(
                f"not an image name: {text[:200]!r}",
                hint="a name looks like registry.example.org/team/image:tag, in lower case",
            )
        if tag is None and digest is None:
            tag = "latest"
        return cls(registry, path, tag, digest)

    @property
    def name(self) -> str:
        """registry/repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def at(self, digest: Digest) -> Reference:
        """The same name, pinned."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"
