import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from rbuild.projectfile import Base, Debian, ProjectFile, Run, Secret, StageFile
from rbuild.schema import schema


def objects(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for item in part.values():
            yield from objects(item)
    elif isinstance(part, list):
        for item in part:
            yield from objects(item)


def test_every_key_of_the_file_is_there_and_described() -> None:
    made = schema()
    parts = {"ProjectFile": made, **made["$defs"]}
    for kind in (ProjectFile, StageFile, Run, Secret, Base, Debian):
        part = parts[kind.__name__]
        assert part["title"] and part["description"]
        assert part["additionalProperties"] is False
        assert set(part["properties"]) == {field.encode_name for field in msgspec.structs.fields(kind)}
        for key, item in part["properties"].items():
            assert len(item["description"]) > 15, key


def test_is_a_document_of_json_schema_2020_12_whose_references_all_lead_somewhere() -> None:
    made = json.loads(json.dumps(schema()))
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["required"] == ["project", "stages"]
    used = {part["$ref"] for part in objects(made) if "$ref" in part}
    assert used == {f"#/$defs/{name}" for name in made["$defs"]}


def test_values_of_our_own_are_texts() -> None:
    parts = schema()["$defs"]
    assert parts["RelativePath"]["type"] == parts["Reference"]["type"] == "string"
    assert parts["StageFile"]["properties"]["context"]["default"] == "."


def test_a_base_says_exactly_one_thing() -> None:
    assert schema()["$defs"]["Base"]["oneOf"] == [
        {"required": ["image"]},
        {"required": ["oci"]},
        {"required": ["debian"]},
    ]


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("a/b", True),
        ("..a/b..", True),
        (".", True),
        ("/a", False),
        ("..", False),
        ("a/../b", False),
        ("a/..", False),
    ],
)
def test_the_pattern_of_paths_says_what_the_type_says(path: str, good: bool) -> None:
    pattern = schema()["$defs"]["RelativePath"]["pattern"]
    assert (re.search(pattern, path) is not None) is good
