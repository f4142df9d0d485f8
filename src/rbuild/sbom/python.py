"""Python distributions, from their core metadata (packaging.python.org, "Core metadata specifications")."""

from __future__ import annotations

import re

from rbuild.sbom.package import Ecosystem, Package, Unreadable, licence_name
from rbuild.sbom.stanzas import fields

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,199}\Z")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CLASSIFIER = "License :: "


def project_name(name: str) -> str:
    """A project's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_metadata(data: bytes, place: str) -> Package:
    """The distribution that METADATA or PKG-INFO describes. Raises Unreadable where it is neither.

    The licence is that of License-Expression (PEP 639), else License where it is a name, else what the
    classifiers say.
    """
    head = fields(_END_OF_HEAD.split(data.lstrip(), maxsplit=1)[0])
    said = dict(reversed(head))  # of a field that comes twice, the first
    name, version = said.get("name", ""), said.get("version", "")
    if not _NAME.match(name) or not _VERSION.match(version):
        raise Unreadable(f"not a distribution: {name[:80]!r} {version[:80]!r}")
    written = said.get("license", "")
    return Package(
        ecosystem=Ecosystem.PYTHON,
        name=project_name(name),
        version=version,
        licence=licence_name(said.get("license-expression"))
        or licence_name(written if "\n" not in written else None)
        or _classified([value for key, value in head if key == "classifier"]),
        places=(place,),
    )


def _classified(classifiers: list[str]) -> str | None:
    """`License :: OSI Approved :: BSD License` says "BSD License"."""
    names = {
        one.rpartition(" :: ")[2]
        for one in classifiers
        if one.startswith(_CLASSIFIER) and one != "License :: OSI Approved"
    }
    return licence_name(", ".join(sorted(names)))
