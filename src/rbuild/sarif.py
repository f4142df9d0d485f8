"""Findings as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), for code scanning."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from rbuild import __version__
from rbuild.console import printable
from rbuild.errors import Where
from rbuild.policy.described import described
from rbuild.policy.model import Finding, Waiver
from rbuild.verbs.check import Checked
from rbuild.verbs.examine import said

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT: Final = "%SRCROOT%"
_FINGERPRINT: Final = "rbuild/v1"
_LONGEST: Final = 2_000  # characters of a text


def sarif(found: Checked, *, folder: PurePosixPath, shown: Callable[[Where], str | None]) -> dict[str, Any]:
    """A log with one run, for `rbuild check`.

    Paths are from the repository's root: `folder` is the project's in it. `shown` gives the line at a place.
    What is waived is there with its waiver as a suppression; what was not checked is a notification.
    """
    names = {one.rule: one.name for one in found.findings}
    rules = sorted(names)
    index = {rule: at for at, rule in enumerate(rules)}
    seen: Counter[str] = Counter()
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "rbuild",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": [_rule(rule, names[rule]) for rule in rules],
                    }
                },
                "invocations": [
                    {"executionSuccessful": True, "toolExecutionNotifications": _unchecked(found)}
                ],
                "originalUriBaseIds": {
                    _ROOT: {"description": {"text": "The root of the repository that the project is in."}}
                },
                "results": [_result(one, index, folder, shown, seen) for one in found.findings],
            }
        ],
    }


def _rule(rule: str, name: str) -> dict[str, Any]:
    known = described(rule)
    if known is None:
        return {"id": rule, "name": name}
    text = f"{known.why}\n\nFound: {known.example}\n\nFix: {known.fix}"
    fence = "`" * 4
    markdown = f"{known.why}\n\n{fence}\n{known.example}\n{fence}\n\n**Fix**: {known.fix}"
    return {
        "id": rule,
        "name": known.name,
        "shortDescription": {"text": known.title},
        "fullDescription": {"text": known.why},
        "help": {"text": text, "markdown": markdown},
        "defaultConfiguration": (
            {"level": known.level.value} if known.level.value != "off" else {"enabled": False}
        ),
        **({"helpUri": known.more} if known.more else {}),
    }


def _result(
    one: Finding,
    index: Mapping[str, int],
    folder: PurePosixPath,
    shown: Callable[[Where], str | None],
    seen: Counter[str],
) -> dict[str, Any]:
    text = _text(said(one))
    if one.hint:
        text += f"\nhint: {_text(one.hint)}"
    identity = _identity(one)
    seen[identity] += 1
    properties = {"stage": one.stage, "policy": one.policy, "image": str(one.image or "")}
    result = {
        "ruleId": one.rule,
        "ruleIndex": index[one.rule],
        "level": one.level.value,
        "message": {"text": text},
        "locations": [_location(one, folder, shown)],
        "partialFingerprints": {_FINGERPRINT: f"{identity}:{seen[identity]}"},
        "properties": {name: value for name, value in properties.items() if value},
    }
    if one.waiver is not None:
        result["suppressions"] = [_suppression(one.waiver, folder)]
    return result


def _identity(one: Finding) -> str:
    """What stays when lines move: the rule, the stage, the file, and what it is about."""
    about = one.text or one.message
    file = one.where.file if one.where else None
    parts = (one.rule, one.stage, file or "", " ".join(about.split()))
    return hashlib.sha256("\0".join(parts).encode(errors="backslashreplace")).hexdigest()[:32]


def _location(one: Finding, folder: PurePosixPath, shown: Callable[[Where], str | None]) -> dict[str, Any]:
    where = one.where or Where()
    physical = _physical(where, folder)
    if "region" in physical and (line := shown(where)) is not None:
        physical["region"]["snippet"] = {"text": _text(line)}
    return {
        "physicalLocation": physical,
        "logicalLocations": [{"name": one.stage, "fullyQualifiedName": one.stage, "kind": "stage"}],
    }


def _physical(where: Where, folder: PurePosixPath) -> dict[str, Any]:
    # Readers of SARIF show nothing that has no file: what is about a stage as a whole is said of rbuild.yaml.
    path = str(folder / (where.file or "rbuild.yaml"))
    uri = quote(path.encode(errors="surrogateescape"))
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri, "uriBaseId": _ROOT}}
    if where.file and where.line:
        physical["region"] = {"startLine": where.line}
    return physical


def _suppression(waiver: Waiver, folder: PurePosixPath) -> dict[str, Any]:
    return {
        "kind": "inSource" if waiver.at else "external",
        "status": "accepted",
        "justification": f"{_text(waiver.reason)} ({_text(waiver.owner)}, until {waiver.expires})",
        "location": {"physicalLocation": _physical(waiver.where, folder)},
    }


def _unchecked(found: Checked) -> Sequence[dict[str, Any]]:
    return [
        {
            "level": "note",
            "message": {
                "text": f"stage {left.stage}: not checked, since {left.reason}: {', '.join(left.rules)}"
                f"\nhint: {left.hint}"
            },
        }
        for left in found.unchecked
    ]


def _text(text: str) -> str:
    clean = printable(text.replace("\n", " ")[:_LONGEST])
    return clean.encode(errors="backslashreplace").decode()
