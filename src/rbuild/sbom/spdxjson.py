"""A bill of materials as SPDX 2.3 (spdx.github.io/spdx-spec/v2.3), through spdx-tools."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from license_expression import ExpressionError
from spdx_tools.common.spdx_licensing import spdx_licensing
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    PackagePurpose,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.model import Package as SpdxPackage
from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream

from rbuild.digest import Digest
from rbuild.sbom.package import Ecosystem, Package
from rbuild.sbom.subject import Subject, package_url

_DOCUMENT = "SPDXRef-DOCUMENT"
_IMAGE = "SPDXRef-Image"
_INSTALLED = {
    Ecosystem.DEBIAN: "installed by dpkg",
    Ecosystem.PYTHON: "installed as a Python distribution",
    Ecosystem.NPM: "installed as an npm package",
}


def spdx(subject: Subject, packages: Iterable[Package]) -> bytes:
    """The document, indented, with a newline at its end. The same arguments give the same bytes."""
    image = SpdxPackage(
        spdx_id=_IMAGE,
        name=subject.name,
        version=str(subject.digest),
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        checksums=[_checksum(subject.digest)],
        external_references=[_purl(subject.purl)],
        primary_package_purpose=PackagePurpose.CONTAINER,
    )
    parts = [_package(number, one) for number, one in enumerate(packages, 1)]
    document = Document(
        creation_info=CreationInfo(
            spdx_version="SPDX-2.3",
            spdx_id=_DOCUMENT,
            name=subject.name,
            document_namespace=f"https://spdx.org/spdxdocs/rbuild-{subject.serial('SPDX')}",
            creators=[Actor(ActorType.TOOL, f"rbuild-{subject.tool}")],
            created=subject.created.replace(tzinfo=None),  # spdx-tools writes it as UTC
        ),
        packages=[image, *parts],
        relationships=[
            Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _IMAGE),
            *(Relationship(_IMAGE, RelationshipType.CONTAINS, part.spdx_id) for part in parts),
        ],
    )
    stream = io.StringIO()
    write_document_to_stream(document, stream, validate=False)  # the tests do; it costs as much as the rest
    written = json.loads(stream.getvalue())
    return (json.dumps(written, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _package(number: int, package: Package) -> SpdxPackage:
    purl = package_url(package)
    scoped = package.ecosystem is Ecosystem.NPM and package.namespace
    single = package.origins[0] if len(package.origins) == 1 else None
    licence = _expression(package.licence)
    return SpdxPackage(
        spdx_id=f"SPDXRef-Package-{number}",
        name=f"{package.namespace}/{package.name}" if scoped else package.name,
        version=package.version,
        download_location=single.url if single else SpdxNoAssertion(),
        files_analyzed=False,
        checksums=[_checksum(single.sha256)] if single else [],
        source_info=f"{_INSTALLED[package.ecosystem]}: {', '.join(package.places)}",
        license_declared=licence,
        license_comment=package.licence if package.licence and isinstance(licence, SpdxNoAssertion) else None,
        comment="\n".join(f"{one.url} {one.sha256}" for one in package.origins) or None
        if single is None
        else None,
        external_references=[_purl(purl.to_string())],
    )


def _expression(licence: str | None) -> Any:
    """The licence where it is an expression of licences that SPDX lists, else that nothing is asserted."""
    if licence is None:
        return SpdxNoAssertion()
    try:
        return spdx_licensing.parse(licence, validate=True, strict=True)
    except ExpressionError:
        return SpdxNoAssertion()


def _checksum(digest: Digest) -> Checksum:
    return Checksum(ChecksumAlgorithm.SHA256, digest.hex)


def _purl(purl: str) -> ExternalPackageRef:
    return ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)
