"""Rules about policies themselves: RB0xx. They are always on, and cannot be waived."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings


def _nothing(_facts: FileFacts, _settings: Settings) -> Iterable[Violation]:
    return ()


def _rule(number: int, name: str, title: str, level: Level, why: str, example: str, fix: str) -> Rule:
    return Rule(
        id=f"RB{number:03}",
        name=name,
        title=title,
        level=level,
        why=why,
        example=example,
        fix=fix,
        files=_nothing,
    )


TOO_LONG: Final = _rule(
    1,
    "waiver-too-long",
    "A waiver lasts longer than is allowed.",
    Level.ERROR,
    "What is excused for years is not looked at again. 90 days are the most, unless the policy gives the "
    "rule another longest_waiver.",
    "waivers: [{rule: RB102, …, expires: 2099-01-01}]",
    "let it end sooner, or set longest_waiver for the rule",
)
ENDING: Final = _rule(
    2,
    "waiver-ending",
    "A waiver ends within 14 days.",
    Level.WARNING,
    "The finding is back on the day after, and stops the stage if it is an error.",
    "waivers: [{rule: RB102, …, expires: TOMORROW}]",
    "mend what it excuses, or ask its owner for another date",
)
IDLE: Final = _rule(
    3,
    "waiver-idle",
    "A waiver excuses nothing.",
    Level.WARNING,
    "Its finding is gone. Left alone, it would excuse the next one, which nobody has looked at.",
    "a waiver of RB102 where no base has a moving tag any more",
    "remove the waiver",
)
COMMENT_FORBIDDEN: Final = _rule(
    4,
    "comment-waiver-forbidden",
    "A comment waives a rule, and its policy does not take waivers in comments.",
    Level.ERROR,
    "Whoever writes the Containerfile would excuse themselves.",
    "# rbuild: allow=RB201 until=2027-01-31 reason=…    # with comment_waivers: false in the policy",
    "put the waiver into a policy file, where its reviewers see it",
)
COMMENT_BROKEN: Final = _rule(
    5,
    "comment-waiver-broken",
    "A comment looks like a waiver, and is none.",
    Level.ERROR,
    "Who wrote it believes that something is excused.",
    "# rbuild: allow=RB201",
    "# rbuild: allow=RB101 until=2027-01-31 owner=NAME reason=WHY",
)
ENGINE_MISSING: Final = _rule(
    6,
    "engine-missing",
    "A policy requires the rules of hadolint, and they could not be checked.",
    Level.ERROR,
    "What was not checked is not known to be right. Without `hadolint: required` the run only says so.",
    "hadolint: required, on a host without it",
    "pip install 'rbuild[hadolint]', or put hadolint on the path",
)

RULES = (TOO_LONG, ENDING, IDLE, COMMENT_FORBIDDEN, COMMENT_BROKEN, ENGINE_MISSING)
