"""The image that a bill of materials is of, and what makes two runs write the same bytes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from packageurl import PackageURL

from rbuild.digest import Digest
from rbuild.sbom.package import Ecosystem, Package

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://spdx.org/spdxdocs/rbuild")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An image: `name` is project/stage, `digest` its manifest's, `epoch` its stage's, in seconds since 1970.

    `tool` is the version of rbuild that looks into it.
    """

    name: str
    digest: Digest
    epoch: int
    tool: str

    @property
    def created(self) -> datetime:
        """The one time of the image; a document says no other."""
        return datetime.fromtimestamp(self.epoch, UTC)

    @property
    def purl(self) -> str:
        """The image's package URL, of the type oci."""
        name = self.name.rpartition("/")[2]
        return f"pkg:oci/{name}@sha256%3A{self.digest.hex}"

    def serial(self, format: str) -> uuid.UUID:
        """The number of its document in `format`, the same whenever it is made (RFC 9562, version 5)."""
        return uuid.uuid5(_NAMESPACE, f"{format} {self.name} {self.digest}")


def package_url(package: Package) -> PackageURL:
    """The URL of a package; for Debian with the architecture and the release (purl-spec, "deb")."""
    said = {"arch": package.architecture, "distro": package.release}
    debian = package.ecosystem is Ecosystem.DEBIAN
    return PackageURL(
        type=package.ecosystem.value,
        namespace=package.namespace,
        name=package.name,
        version=package.version,
        qualifiers={key: value for key, value in said.items() if value and debian},
    )
