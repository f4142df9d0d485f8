"""`rbuild push` without the parser that people need.

Typer takes longer to import than a push with nothing to send takes to ask. What is no plain push (an option
that is not known here, one that lacks its value, `--help`) is left to it, with every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

VALUES = {"--to": "to", "--tag": "tags", "--insecure": "insecure", "--attach": "attach"}
SOURCES = ("none", "pages", "all")  # values of --sources
FLAGS = {"--force": "force", "--quiet": "quiet", "-q": "quiet", "--json": "json"}


@dataclass(slots=True)
class PlainPush:
    """The arguments of a push as they were typed."""

    folder: Path
    stages: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in VALUES.values()})
    flags: set[str] = field(default_factory=set)
    sources: str | None = None

    def run(self) -> int:
        """Do it; the exit code."""
        from rbuild.commands.here import workspace_at
        from rbuild.commands.pushing import push_and_tell
        from rbuild.sources import Kept
        from rbuild.verbs.beside import chosen_kinds
        from rbuild.verbs.push import Request

        kinds = chosen_kinds(self.values["attach"]) if self.values["attach"] else None
        workspace = workspace_at(self.folder)
        request = Request(
            to=tuple(self.values["to"]),
            tags=tuple(self.values["tags"]) or None,
            force="force" in self.flags,
            insecure=tuple(self.values["insecure"]),
            now=datetime.now(UTC),
            attach=kinds,
            sources=Kept(self.sources) if self.sources else None,
        )
        quiet, as_json = "quiet" in self.flags, "json" in self.flags
        return push_and_tell(workspace, self.stages, request, quiet=quiet, as_json=as_json)


def plain_push(words: Sequence[str]) -> PlainPush | None:
    """The push that these arguments are; None for anything else."""
    left = list(words)
    folder = Path()
    if left[:1] in (["--project"], ["-C"]) and len(left) > 1:
        folder = Path(left[1])
        del left[:2]
    if left[:1] != ["push"] or not folder.is_dir():
        return None
    push = PlainPush(folder)
    rest = iter(left[1:])
    for word in rest:
        if word in VALUES:
            value = next(rest, "")
            if not value or value.startswith("-"):
                return None
            push.values[VALUES[word]].append(value)
        elif word == "--sources":
            push.sources = next(rest, "")
            if push.sources not in SOURCES:
                return None
        elif word in FLAGS:
            push.flags.add(FLAGS[word])
        elif not word or word.startswith("-"):
            return None
        else:
            push.stages.append(word)
    return push
