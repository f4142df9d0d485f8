"""All built-in rules, by id."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rbuild.policy.rule import Rule
from rbuild.policy.rules import GROUPS


def _by_id() -> Mapping[str, Rule]:
    found: dict[str, Rule] = {}
    for rule in (rule for group in GROUPS for rule in group):
        assert rule.id not in found, rule.id
        found[rule.id] = rule
    return MappingProxyType(dict(sorted(found.items())))


RULES = _by_id()
