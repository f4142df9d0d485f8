"""What the shape of two differing tokens shows of the reason why they differ.

A rule looks at the two tokens, and at what names them (a key, an option) where both sides have it. It never
judges by what else the line or the file holds.
"""

from __future__ import annotations

from collections.abc import Callable

from rbuild.compare.causes import catalogue, chance, clocks, folders, hosts, zones
from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token
from rbuild.compare.model import Cause

Rule = Callable[[Token, Token, Spot, Setting], bool]

_RULES: tuple[tuple[Cause, Rule], ...] = (
    (catalogue.LOCALE, zones.locale),
    (catalogue.UUID, chance.uuid),
    (catalogue.RANDOM_NAME, chance.random_name),
    (catalogue.PASSWORD_SALT, chance.salt),
    (catalogue.BUILD_DATE, clocks.build_date),
    (catalogue.ELAPSED_TIME, clocks.elapsed_time),
    (catalogue.KERNEL_OR_CPU, hosts.kernel_or_cpu),
    (catalogue.CPU_COUNT, hosts.cpu_count),
    (catalogue.HOSTNAME, hosts.hostname),
    (catalogue.BUILD_PATH, folders.build_path),
)


def cause_of(spot: Spot, setting: Setting) -> Cause | None:
    """The cause that the two tokens of a spot show; None if they show none."""
    if spot.a is None or spot.b is None:
        # Processors have more or fewer features; all else that one side lacks shows nothing.
        one = spot.a or spot.b
        return catalogue.KERNEL_OR_CPU if one and hosts.host_table(one) else None
    for cause, rule in _RULES:
        if rule(spot.a, spot.b, spot, setting):
            return cause
    return None
