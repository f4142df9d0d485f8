"""What `rbuild check` found, for build servers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from rbuild.cireport.annotations import Level as Shown
from rbuild.cireport.annotations import annotation
from rbuild.cireport.suite import Suite
from rbuild.console import printable
from rbuild.policy.model import Finding, Level
from rbuild.verbs.check import Checked
from rbuild.verbs.examine import said

_SHOWN: Final[dict[Level, Shown]] = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}
_LONGEST = 400  # characters of a message


def junit(found: Checked, *, project: str, host: str, when: datetime) -> str:
    """A test case for each stage and rule that found something, and one for each stage, as an XML document.

    An error fails its case; what is waived, or could not be checked, is skipped; a warning passes.
    """
    suite = Suite()
    for stage in found.stages:
        where = f"rbuild.check.{project}.{stage}"
        suite.case(f"rbuild.check.{project}", stage)
        for (rule, title), findings in _by_rule(found, stage).items():
            case = suite.case(where, title)
            if stopping := [one for one in findings if one.stops]:
                suite.add(case, "failure", rule, [line for one in stopping for line in _lines(one)])
            elif waived := [one for one in findings if one.waiver]:
                suite.add(case, "skipped", rule, [_waived(waived[0])])
        for left in found.unchecked:
            if left.stage == stage:
                for rule in left.rules:
                    suite.add(suite.case(where, rule), "skipped", rule, [f"not checked: {left.reason}"])
    return suite.document(f"rbuild check {project}", package=project, host=host, when=when, seconds=0)


def _by_rule(found: Checked, stage: str) -> dict[tuple[str, str], list[Finding]]:
    rules: dict[tuple[str, str], list[Finding]] = {}
    first = found.stages[0] if found.stages else ""
    for one in found.findings:
        # What is said of a waiver for several stages belongs to no one of them.
        if one.stage == stage or (one.stage not in found.stages and stage == first):
            rules.setdefault((one.rule, one.title), []).append(one)
    return rules


def _lines(one: Finding) -> list[str]:
    place = f"{one.where}: " if one.where and str(one.where) else ""
    lines = [printable(f"{place}{said(one)}"[:_LONGEST])]
    return [*lines, printable(f"  hint: {one.hint}"[:_LONGEST])] if one.hint else lines


def _waived(one: Finding) -> str:
    assert one.waiver is not None
    return f"waived by {one.waiver.owner} until {one.waiver.expires}: {one.waiver.reason}"


def github(found: Checked, *, folder: PurePosixPath) -> str:
    """Workflow commands, a line each, that annotate lines; what is waived is left out.

    `folder` is the project's in its repository.
    """
    return "".join(f"{line}\n" for line in _annotations(found, folder))


def _annotations(found: Checked, folder: PurePosixPath) -> Iterator[str]:
    for one in found.findings:
        if one.waiver is not None:
            continue
        file = str(folder / one.where.file) if one.where and one.where.file else None
        text = printable(said(one)[:_LONGEST])
        if one.hint:
            text += f"\nhint: {printable(one.hint[:_LONGEST])}"
        line = one.where.line if one.where else None
        yield annotation(_SHOWN[one.level], f"{one.title} ({one.stage})", text, file, line)
    for left in found.unchecked:
        text = f"{', '.join(left.rules)}\nhint: {left.hint}"
        yield annotation("notice", f"{left.stage}: not checked: {left.reason}", text, None, None)
