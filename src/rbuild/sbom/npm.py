"""npm packages, from their package.json (docs.npmjs.com, "package.json")."""

from __future__ import annotations

import json
import re
from typing import Any

from rbuild.sbom.package import Ecosystem, Package, Unreadable, licence_name

_NAME = re.compile(r"(?:(?P<scope>@[A-Za-z0-9~._-]{1,100})/)?(?P<name>[A-Za-z0-9~_][A-Za-z0-9~._-]{0,213})\Z")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+-]{0,199}\Z")


def read_manifest(data: bytes, place: str) -> Package:
    """The package that a package.json describes. Raises Unreadable where it has no name and version."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(said, dict):
        raise Unreadable("not a JSON object")
    name, version = said.get("name"), said.get("version")
    match = _NAME.match(name) if isinstance(name, str) else None
    if match is None or not isinstance(version, str) or not _VERSION.match(version):
        raise Unreadable("has no name and version of a package")
    return Package(
        ecosystem=Ecosystem.NPM,
        namespace=match["scope"],
        name=match["name"],
        version=version,
        licence=_licence(said),
        places=(place,),
    )


def _licence(said: dict[str, Any]) -> str | None:
    """`license`, an SPDX expression, or one of the older forms: an object, and a list of objects."""
    written = said.get("license") or said.get("licenses")
    listed = written if isinstance(written, list) else [written]
    names = [one.get("type") if isinstance(one, dict) else one for one in listed[:20]]
    texts = [name for name in names if isinstance(name, str)]
    if len(texts) == 1:
        return licence_name(texts[0])
    return licence_name(" OR ".join(f"({text})" if " " in text else text for text in texts))
