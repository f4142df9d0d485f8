"""The JSON Schema of `policies/*.yaml`, for editors: with it they complete rules, levels and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rbuild.policy.catalogue import RULES
from rbuild.policy.model import Level
from rbuild.policy.policyfile import OwnRuleFile, PolicyFile, RuleFile, WaiverFile
from rbuild.policy.rule import Rule, Settings

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_PATTERNS: Final = {
    r"^RB(?=[0-9*]*\*)[0-9*]+$": "Built-in rules, by a pattern: RB1*.",
    r"^(?:DL|SC)(?:[0-9]{4}|[0-9]*\*)$": "Rules of hadolint and ShellCheck: DL3008, SC*.",
}
_OWN: Final = "^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$"


def policy_schema() -> dict[str, Any]:
    """The schema of a policy, JSON Schema 2020-12.

    It is as strict as a schema can be; what an expression says, and which stages there are, is left to
    `read_policy`.
    """
    _, parts = msgspec.json.schema_components(
        [PolicyFile, RuleFile, OwnRuleFile], ref_template="#/$defs/{name}"
    )
    parts["Level"] = {
        "title": "Level",
        "description": "What a finding weighs: an error stops its stage.",
        "enum": [level.value for level in Level],
    }
    parts["Day"] = {
        "title": "Day",
        "description": "The last day, UTC: 2027-01-31.",
        "type": "string",
        "pattern": "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$",
        "format": "date",
    }
    parts["Digest"] = {
        "title": "Digest",
        "description": "The digest of an image's manifest.",
        "type": "string",
        "pattern": "^sha256:[0-9a-f]{64}$",
    }
    for kind, title in (
        (RuleFile, "Rule"),
        (OwnRuleFile, "Rule of the project's own"),
        (WaiverFile, "Waiver"),
    ):
        parts[kind.__name__]["title"] = title
    for kind in (RuleFile, OwnRuleFile):
        said = parts[kind.__name__]["properties"]["level"]
        parts[kind.__name__]["properties"]["level"] = _level(said.get("default"))
    root = parts.pop(PolicyFile.__name__)
    root["title"] = "Policy of rbuild"
    root["properties"]["rules"] = {
        "description": "Which rules hold: a level, or a mapping with level and settings, for each.",
        "type": "object",
        "properties": {rule.id: _rule(rule, parts) for rule in RULES.values()},
        "patternProperties": {
            **{
                pattern: {"description": said, "anyOf": [_level(), {"$ref": "#/$defs/RuleFile"}]}
                for pattern, said in _PATTERNS.items()
            },
            _OWN: {"$ref": "#/$defs/OwnRuleFile"},
        },
        "additionalProperties": False,
    }
    parts["Range"] = {
        "title": "Packages",
        "description": "An ecosystem, a name or a pattern, and versions: pypi:requests <2.31.",
        "type": "string",
        "pattern": "^(?:pypi|deb|npm):@?[A-Za-z0-9*?]\\S*(?: .*)?$",
    }
    root["required"] = [*root["required"], "rules"]
    used = _used(root, parts)
    return {"$schema": _DIALECT, **root, "$defs": {name: parts[name] for name in parts if name in used}}


def _used(root: object, parts: Mapping[str, Any]) -> frozenset[str]:
    """The parts that the root refers to, or one of these; what a text is made of inside is no part of it."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            name = str(one.get("$ref", "")).removeprefix("#/$defs/")
            if name in parts and name not in found:
                found.add(name)
                waiting.append(parts[name])
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return frozenset(found)


def _level(default: str | None = None) -> dict[str, Any]:
    level: dict[str, Any] = {"$ref": "#/$defs/Level"}
    return level if default is None else {**level, "default": default}


def _rule(rule: Rule, parts: dict[str, Any]) -> dict[str, Any]:
    said = parts["RuleFile"]
    fields = dict(said["properties"])
    fields["level"] = _level(rule.level.value)
    if rule.settings is not Settings:
        fields["settings"] = _settings(rule, parts)
    written = {"type": "object", "properties": fields, "additionalProperties": False}
    return {
        "title": f"{rule.id} {rule.name}",
        "description": f"{rule.title} {rule.why}",
        "anyOf": [_level(rule.level.value), written],
    }


def _settings(rule: Rule, parts: dict[str, Any]) -> dict[str, Any]:
    _, made = msgspec.json.schema_components([rule.settings], ref_template="#/$defs/{name}")
    settings: dict[str, Any] = made.pop(rule.settings.__name__)
    parts.update(made)  # what its fields are made of
    return settings
