"""The built-in rules. RB1xx: reproducible; RB2xx: rootless and safe; RB3xx: supply chain."""

from __future__ import annotations

from rbuild.policy import meta
from rbuild.policy.rule import Rule
from rbuild.policy.rules import (
    bases,
    chance,
    commands,
    delivery,
    downloads,
    forbidden,
    leftovers,
    licences,
    locks,
    origins,
    pins,
    privileges,
    pushes,
    secretfiles,
    secrettext,
    serving,
    sources,
    upgrades,
    users,
)

GROUPS: tuple[tuple[Rule, ...], ...] = (
    meta.RULES,
    bases.RULES,
    downloads.RULES,
    upgrades.RULES,
    pins.RULES,
    chance.RULES,
    sources.RULES,
    users.RULES,
    commands.RULES,
    privileges.RULES,
    secrettext.RULES,
    secretfiles.RULES,
    leftovers.RULES,
    serving.RULES,
    licences.RULES,
    delivery.RULES,
    locks.RULES,
    origins.RULES,
    forbidden.RULES,
    pushes.RULES,
)
