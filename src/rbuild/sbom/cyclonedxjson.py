"""A bill of materials as CycloneDX 1.6 (ECMA-424), through cyclonedx-python-lib."""

from __future__ import annotations

import json
from collections.abc import Iterable

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.license import LicenseAcknowledgement
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from rbuild.digest import Digest
from rbuild.sbom.package import Origin, Package
from rbuild.sbom.subject import Subject, package_url


def cyclonedx(subject: Subject, packages: Iterable[Package]) -> bytes:
    """The document, indented, with a newline at its end. The same arguments give the same bytes."""
    image = Component(
        type=ComponentType.CONTAINER,
        name=subject.name,
        version=str(subject.digest),
        bom_ref=subject.purl,
        purl=PackageURL.from_string(subject.purl),
        hashes=[_hash(subject.digest)],
    )
    tool = Component(type=ComponentType.APPLICATION, name="rbuild", version=subject.tool)
    components = [_component(one) for one in packages]
    bom = Bom(
        serial_number=subject.serial("CycloneDX"),
        metadata=BomMetaData(
            timestamp=subject.created, component=image, tools=ToolRepository(components=[tool])
        ),
        components=components,
    )
    bom.register_dependency(image, components)
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    return (json.dumps(written, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _component(package: Package) -> Component:
    purl = package_url(package)
    single = package.origins[0] if len(package.origins) == 1 else None
    licence = (
        LicenseFactory().make_from_string(
            package.licence, license_acknowledgement=LicenseAcknowledgement.DECLARED
        )
        if package.licence
        else None
    )
    return Component(
        type=ComponentType.LIBRARY,
        group=package.namespace,
        name=package.name,
        version=package.version,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[_hash(single.sha256)] if single else (),
        licenses=[licence] if licence else (),
        external_references=[_distribution(origin) for origin in package.origins],
        evidence=ComponentEvidence(occurrences=[Occurrence(location=place) for place in package.places]),
    )


def _distribution(origin: Origin) -> ExternalReference:
    return ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION, url=XsUri(origin.url), hashes=[_hash(origin.sha256)]
    )


def _hash(digest: Digest) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.hex)
