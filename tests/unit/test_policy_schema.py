"""The schema of policies, held against policies that are right and that are wrong, and against the reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rbuild.errors import RbuildError
from rbuild.policy.catalogue import RULES
from rbuild.policy.policyfile import read_policy
from rbuild.policy.rule import Settings
from rbuild.policy.schema import policy_schema
from rbuild.verbs.policyinit import shipped_policies

SCHEMA = json.loads(json.dumps(policy_schema()))
PROJECT = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of plain words, which editors have: `off` and days are texts."""


_Loader.yaml_implicit_resolvers = {
    start: [(tag, pattern) for tag, pattern in known if not tag.endswith(("bool", "timestamp"))]
    for start, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def mistakes(text: str | bytes) -> list[str]:
    found = jsonschema.Draft202012Validator(SCHEMA).iter_errors(yaml.load(text, _Loader))
    return [one.json_path for one in found]


def reads(text: str) -> bool:
    try:
        read_policy(text.encode(), "p.yaml")
    except RbuildError:
        return False
    return True


HEAD = "name: p\ndescription: d\n"
GOOD = {
    "levels": "rules: {RB101: error, RB102: off, RB1*: note, 'RB*': warning, DL3008: note, SC*: off}",
    "rule": "rules: {RB101: {level: warning, longest_waiver: 30}}",
    "rule without a level": "rules: {RB101: {}}",
    "own": "rules:\n"
    "  no-add: {expression: 'true', message: m, hint: h, level: note, when: image, each: image.files}",
    "waivers": "rules: {RB101: error}\n"
    "waivers: [{rule: RB101, reason: r, owner: o, expires: 2027-01-31, stage: a, line: x,"
    f" image: 'sha256:{'a' * 64}'}}]",
    "all": "rules: {RB101: error}\nstages: [a, 'b*']\ncomment_waivers: false\nhadolint: required",
}
BAD = {
    "no rules": "stages: [a]",
    "unknown key": "rules: {RB101: error}\nrulez: {}",
    "unknown rule": "rules: {RB999: error}",
    "unknown level": "rules: {RB101: fatal}",
    "unknown setting": "rules: {RB101: {settings: {nope: 1}}}",
    "setting of a pattern": "rules: {RB1*: {settings: {}}}",
    "name of no rule": "rules: {No_Add: error}",
    "own without a message": "rules: {no-add: {expression: 'true', hint: h}}",
    "own with a level alone": "rules: {no-add: error}",
    "own of another moment": "rules: {no-add: {expression: 'true', message: m, hint: h, when: never}}",
    "long expression": f"rules: {{no-add: {{expression: '{'x' * 4097}', message: m, hint: h}}}}",
    "waiver without an end": "rules: {RB101: error}\nwaivers: [{rule: RB101, reason: r, owner: o}]",
    "waiver with a strange end": "rules: {RB101: error}\n"
    "waivers: [{rule: RB101, reason: r, owner: o, expires: 2027-13-31}]",
    "waiver of no digest": "rules: {RB101: error}\n"
    "waivers: [{rule: RB101, reason: r, owner: o, expires: 2027-01-31, image: abc}]",
    "too long a wait": "rules: {RB101: {longest_waiver: 99999}}",
}


def test_is_a_schema_whose_references_all_lead_somewhere() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    used = {part["$ref"] for part in _objects(SCHEMA) if "$ref" in part}
    assert used == {f"#/$defs/{name}" for name in SCHEMA["$defs"]}


def _objects(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    if isinstance(part, (dict, list)):
        for item in part.values() if isinstance(part, dict) else part:
            yield from _objects(item)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_what_is_right_passes(text: str) -> None:
    assert mistakes(HEAD + text) == []
    assert reads(HEAD + text)


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_does_not(text: str) -> None:
    assert mistakes(HEAD + text)
    assert not reads(HEAD + text)


def test_every_rule_with_every_setting_is_there() -> None:
    written = SCHEMA["properties"]["rules"]["properties"]
    assert list(written) == list(RULES)
    for rule in RULES.values():
        said = written[rule.id]
        assert rule.name in said["title"]
        assert rule.title in said["description"]
        level, whole = said["anyOf"]
        assert level["default"] == rule.level.value
        if rule.settings is Settings:
            assert "settings" not in whole["properties"]
            continue
        settings = whole["properties"]["settings"]
        assert set(settings["properties"]) == set(rule.settings.__struct_fields__)
        assert settings["additionalProperties"] is False
        for name, one in settings["properties"].items():
            assert one["description"], (rule.id, name)
            assert "default" in one, (rule.id, name)


def test_a_rules_own_defaults_are_right_by_both() -> None:
    import msgspec

    for rule in RULES.values():
        settings = json.dumps(msgspec.to_builtins(rule.settings()))
        text = f"{HEAD}rules: {{{rule.id}: {{settings: {settings}}}}}"
        if rule.settings is not Settings:
            assert mistakes(text) == [], rule.id
            assert reads(text), rule.id
        broken = f"{HEAD}rules: {{{rule.id}: {{settings: {{no_such_setting: 1}}}}}}"
        assert mistakes(broken), rule.id


def test_the_policies_that_come_with_rbuild_and_this_project_s_own_pass() -> None:
    for name, data in shipped_policies().items():
        assert mistakes(data) == [], name
        read_policy(data, name)
    for path in sorted((PROJECT / "policies").glob("*.yaml")):
        assert mistakes(path.read_bytes()) == [], path
