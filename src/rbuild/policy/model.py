"""The values of policies: levels, moments, violations, findings, waivers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from fnmatch import fnmatchcase

from rbuild.digest import Digest
from rbuild.errors import Where


class Level(Enum):
    """How much a finding weighs. An error stops its stage; a warning and a note are said."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    OFF = "off"

    @property
    def weight(self) -> int:
        """More is worse."""
        return ("off", "note", "warning", "error").index(self.value)


class Moment(Enum):
    """The earliest time that a rule can be checked."""

    FILES = "files"  # Containerfile, context and rbuild.yaml: before anything is fetched
    LOCK = "lock"  # what went in, as it is locked: before a build
    IMAGE = "image"  # the canonical image: before it is locked as good
    PUSH = "push"  # where it goes, and what it is called there: before the first request

    @property
    def said(self) -> str:
        """For people."""
        return {
            "files": "before anything is fetched",
            "lock": "when a stage is locked",
            "image": "on the image, before it is locked as good",
            "push": "before a push",
        }[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What a rule found. `text` is what it is about, as it stands there: an instruction, a file's path.

    `hint` takes the place of the rule's own fix.
    """

    message: str
    where: Where | None = None
    text: str = ""
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Who excuses which findings, why, and until when (the last day, UTC).

    `rule` and `stage` may hold wildcards (`DL*`). `line` is a part of the finding's text, `image` the digest
    of the manifest that alone is excused. `at` is set for one in a comment: file, first and last line of
    the instruction that it stands before.
    """

    rule: str
    reason: str
    owner: str
    expires: date
    where: Where  # the waiver itself
    stage: str = "*"
    line: str | None = None
    image: Digest | None = None
    at: tuple[str, int, int] | None = None

    def covers(self, finding: Finding) -> bool:
        """Whether it is about this finding, ended or not."""
        if not fnmatchcase(finding.rule, self.rule) or not fnmatchcase(finding.stage, self.stage):
            return False
        if self.at is not None:
            (file, first, last), where = self.at, finding.where
            return where is not None and where.file == file and first <= (where.line or 0) <= last
        if self.line is not None and _folded(self.line) not in _folded(finding.text):
            return False
        return self.image is None or self.image == finding.image


def _folded(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation of a rule that a policy turns on, in one stage.

    `text` is what it is about, `policy` the file that asks for it. `waiver` excuses it; `ended` is one that
    did, once. `image` is the manifest that was looked at, where the finding is about an image.
    """

    rule: str
    name: str
    level: Level
    stage: str
    message: str
    where: Where | None = None
    text: str = ""
    hint: str | None = None
    policy: str = ""
    image: Digest | None = None
    waiver: Waiver | None = None
    ended: Waiver | None = None

    @property
    def title(self) -> str:
        """Its rule, by id and name; a project's own rule has just the one."""
        return self.rule if self.rule == self.name else f"{self.rule} {self.name}"

    @property
    def stops(self) -> bool:
        """Whether its stage may not go on."""
        return self.level is Level.ERROR and self.waiver is None
