"""The JSON Schema of `rbuild.yaml`, for editors."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rbuild.projectfile import Base, Debian, ProjectFile, Run, Secret, StageFile

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TITLES: Final[dict[type, str]] = {
    ProjectFile: "rbuild.yaml",
    Base: "Base",
    Debian: "Debian base",
    StageFile: "Stage",
    Run: "Run",
    Secret: "Secret",
}


def schema() -> dict[str, Any]:
    """The schema of `rbuild.yaml`, JSON Schema 2020-12: every key with its description.

    It is as strict as a schema can be; what only the project's files can tell is left to `load_project`.
    """
    _, parts = msgspec.json.schema_components([ProjectFile], ref_template="#/$defs/{name}")
    for kind, title in _TITLES.items():
        parts[kind.__name__]["title"] = title
    # Values of rbuild's own are written as one text.
    parts["RelativePath"] = {
        "title": "Path in the project",
        "description": "Relative to the folder of rbuild.yaml, without '..'.",
        "type": "string",
        "minLength": 1,
        "pattern": r"^(?!/)(?!(?:.*/)?\.\.(?:/|$))",
    }
    parts["Reference"] = {
        "title": "Image reference",
        "description": "Such as docker.io/library/python:3.11-slim.",
        "type": "string",
        "minLength": 1,
    }
    del parts["Digest"]  # a part of Reference
    parts["StageFile"]["properties"]["context"]["default"] = "."
    parts["Base"] |= {
        "oneOf": [{"required": [kind]} for kind in ("image", "oci", "debian")],
        "dependentRequired": {"tag": ["oci"]},
    }
    parts["Secret"]["oneOf"] = [{"required": [kind]} for kind in ("env", "file")]
    root = parts.pop(ProjectFile.__name__)
    return {"$schema": DIALECT, **root, "$defs": parts}
