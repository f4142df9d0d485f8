"""What a signature may call the image that it is of: `signedIdentity` of containers-policy.json(5).

An image is named by its digest here, as in `podman pull NAME@DIGEST`: rbuild fetches nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rbuild.errors import RbuildError
from rbuild.reference import Reference

Kind = Literal[
    "matchExact",
    "matchRepoDigestOrExact",
    "matchRepository",
    "exactReference",
    "exactRepository",
    "remapIdentity",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One `signedIdentity`. `reference`, `prefix` and `signed_prefix` are those that its kind has."""

    kind: Kind = "matchRepoDigestOrExact"
    reference: str = ""
    prefix: str = ""
    signed_prefix: str = ""

    def fits(self, image: Reference, signed: str) -> bool:
        """Whether a signature that says `signed` may stand for `image`, which has a digest and no tag."""
        try:
            named = Name.parse(signed)
            match self.kind:
                case "matchExact":
                    return named.exact and named == Name(image.name, digest=str(image.digest))
                case "matchRepoDigestOrExact":
                    return named.exact and named.name == image.name
                case "matchRepository":
                    return named.name == image.name
                case "exactReference":
                    wanted = Name.parse(self.reference)
                    return wanted.exact and wanted == named
                case "exactRepository":
                    return Name.parse(self.reference).name == named.name
                case "remapIdentity":
                    return named.exact and named.name == self._remapped(image.name)
        except RbuildError:
            return False

    def _remapped(self, name: str) -> str:
        if name == self.prefix or name.startswith(f"{self.prefix}/"):
            return Name.parse(self.signed_prefix + name.removeprefix(self.prefix)).name
        return name


@dataclass(frozen=True, slots=True)
class Name:
    """A name as signatures and policies write it: no tag is implied where there is none."""

    name: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Name:
        """Raises RbuildError for what is no name of an image."""
        parsed = Reference.parse(text)
        tagged = ":" in text.partition("@")[0].rpartition("/")[2]
        digest = str(parsed.digest) if parsed.digest else None
        return cls(parsed.name, parsed.tag if tagged else None, digest)

    @property
    def exact(self) -> bool:
        """Whether it names an image, not only a repository."""
        return self.tag is not None or self.digest is not None
