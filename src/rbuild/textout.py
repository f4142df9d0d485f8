"""Results as text on stdout: what each command says when nobody asks for JSON."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rbuild.console import say, say_columns

if TYPE_CHECKING:
    from pathlib import Path

    from rbuild.compare.model import Comparison
    from rbuild.plan import Change
    from rbuild.verbs.build import StageResult
    from rbuild.verbs.deep import DeepFindings
    from rbuild.verbs.doctor import Check
    from rbuild.verbs.errand import Delivery
    from rbuild.verbs.images import Image
    from rbuild.verbs.keygen import KeyPair
    from rbuild.verbs.pull import Pulled
    from rbuild.verbs.run import StageRun
    from rbuild.verbs.sbom import Summary
    from rbuild.verbs.status import StagePlan, Status

_MOST_CHANGES = 10
_ECOSYSTEMS = {"deb": "Debian packages", "npm": "npm packages", "pypi": "Python distributions"}
_WIDTH = 100  # columns of text that no terminal shows


def say_results(results: Sequence[StageResult]) -> None:
    """What became of each stage that was to be built."""
    width = _width(one.stage for one in results)
    for one in results:
        source = f"  from {one.registry}" if one.registry else ""
        say(f"{one.stage:{width}}  {one.outcome:10}  {one.digest or ''}{source}".rstrip())


def say_status(found: Sequence[Status]) -> None:
    """Which stages are out of date, and why."""
    width = _width(one.stage for one in found)
    for one in found:
        missing = "" if one.stored or one.changes else ", but its image is not in the store"
        say(f"{one.stage:{width}}  {'out of date' if one.changes else f'up to date{missing}'}")
        say_changes(one.changes, f"{'':{width}}    ")


def say_changes(changes: Sequence[Change], lead: str) -> None:
    """A change a line, each after `lead`; only the first where they are many."""
    for change in changes[:_MOST_CHANGES]:
        say(f"{lead}{change}")
    if len(changes) > _MOST_CHANGES:
        say(f"{lead}… and {len(changes) - _MOST_CHANGES} more")


def say_plan(plan: StagePlan) -> None:
    """What building a stage would do."""
    actions = {
        "nothing": "nothing to do",
        "load": "load its image into Podman's storage",
        "fetch": f"fetch its image from {' or '.join(plan.substitutes)}, or build it",
    }
    say(f"stage {plan.stage}: {actions.get(plan.action, plan.action)}")
    say_changes(plan.changes, "  because ")
    target = f", target {plan.target}" if plan.target else ""
    say(f"  Containerfile  {plan.containerfile}{target}")
    say(f"  context        {plan.context}, {plan.files} file{'s'[: plan.files != 1]}")
    for name, value in sorted(plan.args.items()):
        say(f"  arg            {name}={value}")
    for base in plan.bases:
        say(f"  base           {base.key}  {base.digest or 'to be pinned'}")
    say(f"  epoch          {'the time of the build' if plan.epoch is None else plan.epoch}")
    say(f"  recording      {plan.responses} responses are locked")
    say("  steps")
    for step in plan.steps:
        say(f"    {step.line:>4}  {step.text.splitlines()[0][:100]}")


def say_images(found: Sequence[Image]) -> None:
    """The images, a row each."""
    rows = [("STAGE", "REFERENCE", "DIGEST", "SIZE", "BUILT", "FROM")]
    for one in found:
        if one.digest is None:
            rows.append((one.stage, one.reference, "not built yet", "", "", ""))
            continue
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.built)) if one.built else "not here"
        sources = ", ".join(one.bases)
        rows.append((one.stage, one.reference, str(one.digest), f"{one.size / 1e6:.1f} MB", when, sources))
    say_columns(rows)


def say_outputs(found: Sequence[StageRun]) -> None:
    """What the stages that ran have written."""
    for one in found:
        for output in one.outputs:
            say(f"{one.stage}: {output}")


def say_deliveries(found: Sequence[Delivery]) -> None:
    """What registries have now, an image a line, with what it took."""
    images = [image for one in found for image in one.images]
    width = _width(image.stage for image in images)
    for image in images:
        blobs = [f"{image.sent} sent ({image.bytes_sent / 1e6:.1f} MB)"] if image.sent else []
        blobs += [f"{image.mounted} mounted"] if image.mounted else []
        blobs += [f"{image.skipped} there before"] if image.skipped else []
        say(f"{image.stage:{width}}  {image.reference}")
        say(f"{'':{width}}    tags   {', '.join(image.tags) or 'none'}")
        say(f"{'':{width}}    blobs  {', '.join(blobs)}")
        for one in image.attached:
            sent = f", {one.bytes_sent / 1e6:.1f} MB sent" if one.bytes_sent else ", there before"
            say(f"{'':{width}}    beside {one.artifact_type} ({one.blobs} blobs{sent})")
        if image.signed:
            say(f"{'':{width}}    signed")


def say_pulled(found: Sequence[Pulled]) -> None:
    """What is here now, an image a line, and where it came from."""
    width = _width(one.stage for one in found)
    for one in found:
        if one.error:
            continue
        size = f"{one.blobs} blob{'s'[: one.blobs != 1]}, {one.size / 1e6:.1f} MB"
        source = f"from {one.registry} ({size})" if one.registry else "was here"
        say(f"{one.stage:{width}}  {one.digest}  {source}")


def say_checks(found: Sequence[Check]) -> None:
    """What was looked at on this host, with the fix of what is wrong."""
    width = _width(check.name for check in found)
    for check in found:
        mark = {True: "ok  ", False: "FAIL", None: "warn"}[check.ok]
        say(f"{mark}  {check.name:{width}}  {check.found}")
        if check.fix and check.ok is not True:
            say(f"      {'':{width}}  fix: {check.fix}")


def say_comparison(comparison: Comparison, *, full: bool = False) -> None:
    """Two images held against each other: the verdict, the tree of differences, their causes and hints.

    Unless `full`, long lists show their start, and how many more there are.
    """
    from rich.console import Console

    from rbuild.difftree import drawn

    terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(file=sys.stdout, width=None if terminal else _WIDTH, highlight=False)
    for line in drawn(comparison, width=console.width, full=full):
        console.print(line, soft_wrap=True)


def say_deep(found: DeepFindings) -> None:
    """What diffoscope said of the files that differ."""
    if found.problem:
        say("")
        say(f"diffoscope was not asked: {found.problem}")
        say(f"  hint: {found.hint}")
    for one in found.findings:
        say("")
        say(f"diffoscope on {one.path}" + (f": {one.problem}" if one.problem else ""))
        for line in one.text.splitlines():
            say(f"  {line}")
    if found.omitted:
        say("")
        say(f"diffoscope was not asked about {found.omitted} more")


def say_keys(pair: KeyPair) -> None:
    """Where new keys are."""
    say(f"{pair.private}  the private key, encrypted: keep it to yourself")
    say(f"{pair.public}  the public key: for everyone who verifies")


def say_sbom(found: Summary, path: Path) -> None:
    """What a bill of materials has, and where it was written."""
    counted = ", ".join(f"{_ECOSYSTEMS[kind]}: {count}" for kind, count in found.packages.items())
    total = sum(found.packages.values())
    say(f"{path}: {counted or 'no packages'}; {found.pinned} of {total} with URL and sha256 from the lock")


def _width(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)
