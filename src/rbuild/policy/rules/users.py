"""Rules about who a container runs as, and whom its files belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from rbuild.policy.facts import FileEntry, FileFacts, ImageFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.scoped import said
from rbuild.policy.sightings import PathSettings, Sight, chain, last

_NUMBER = re.compile(r"[0-9]+\Z")
_LARGEST = 65_535


class UidSettings(Settings, frozen=True, kw_only=True):
    """Of rules about user and group ids."""

    largest: Annotated[int, Meta(ge=0, description="The largest id that every rootless user can map.")] = (
        _LARGEST
    )


class OwnerSettings(PathSettings, frozen=True, kw_only=True):
    """Of the rule about owners of files."""

    largest: Annotated[int, Meta(ge=0, description="The largest id that every rootless user can map.")] = (
        _LARGEST
    )


def _user(facts: ImageFacts) -> str:
    return (facts.config.config.user if facts.config.config else "").strip()


def _root(facts: ImageFacts, _: Settings) -> Iterable[Violation]:
    user = _user(facts)
    name, _colon, _group = user.partition(":")
    if name and name != "root" and not (_NUMBER.match(name) and not int(name[:20])):
        return
    what = f"runs as {user}" if user else "names no user, and so runs as root"
    where = last(facts.lock.files, "USER")
    yield Violation(message=f"the image {what}", where=where, text=f"USER {user}".strip())


def _no_user(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    if facts.targets and not any(one.keyword == "USER" for one in chain(facts)):
        yield Violation(
            message="no USER: the image runs as its base does, which is root unless the base says otherwise",
            where=last(facts, "USER"),
            text=facts.containerfile.targets[facts.targets[-1]].origin.original[:300],
        )


def _by_name(facts: ImageFacts, _: Settings) -> Iterable[Violation]:
    user = _user(facts)
    named = [part for part in user.split(":")[:2] if part and not _NUMBER.match(part)]
    if named and user.partition(":")[0] != "root":
        yield Violation(
            message=f"the image runs as {user}, and only its own /etc/passwd and /etc/group say who that is",
            where=last(facts.lock.files, "USER"),
            text=f"USER {user}",
        )


def _large_uid(facts: FileFacts, settings: UidSettings) -> Iterable[Violation]:
    for one in said(facts):
        if one.instruction.keyword == "EXPOSE":
            continue
        keyword = one.instruction.keyword
        for value in one.values:
            numbers = [part for part in value.split(":")[:2] if _NUMBER.match(part)]
            if large := [part for part in numbers if int(part[:20]) > settings.largest]:
                yield Violation(
                    message=f"{keyword} names the id {large[0][:20]}, beyond {settings.largest}",
                    where=facts.at(one.instruction.line),
                    text=f"{keyword} {value}"[:200],
                )


class _LargeOwner(Sight):
    """Owners of the build's own files; said once for each owner and layer."""

    settings: OwnerSettings

    def __init__(self, facts: ImageFacts, settings: OwnerSettings) -> None:
        super().__init__(facts, settings)
        self._largest = settings.largest
        self._known: set[tuple[int, int, int]] = set()

    def see(self, entry: FileEntry, content: bytes) -> None:
        if (entry.uid <= self._largest and entry.gid <= self._largest) or not entry.own:
            return
        key = entry.layer, entry.uid, entry.gid
        if key not in self._known and len(self._known) < 1000:
            self._known.add(key)
            self.say(entry, f"belongs to {entry.uid}:{entry.gid}, beyond {self._largest}")


RULES = (
    Rule(
        id="RB201",
        name="runs-as-root",
        title="The image runs as root.",
        level=Level.ERROR,
        why="Whoever breaks out of the program is root in the container, and one error of the kernel away "
        "from being it outside. Clusters that ask for runAsNonRoot refuse to start it.",
        example="FROM python:3.11-slim        # and no USER, or USER root, or USER 0",
        fix="end with USER 10001:10001, and give that user what it has to write",
        image=_root,
    ),
    Rule(
        id="RB202",
        name="user-by-name",
        title="The image runs as a user by name.",
        level=Level.WARNING,
        why="A name means what /etc/passwd in the image says, which may be root. Kubernetes cannot tell, and "
        "refuses such an image under runAsNonRoot; volumes belong to numbers.",
        example="RUN useradd app\nUSER app",
        fix="use the numbers: USER 10001:10001",
        image=_by_name,
    ),
    Rule(
        id="RB203",
        name="uid-too-large",
        title="An instruction names a user or group id over 65535.",
        level=Level.ERROR,
        why="A rootless user has 65536 subordinate ids as a rule. An image with a larger one can neither be "
        "built nor run there.",
        example="USER 100000",
        fix="use an id below 65536, such as 10001",
        settings=UidSettings,
        files=_large_uid,
    ),
    Rule(
        id="RB204",
        name="owner-too-large",
        title="A file that the build added belongs to an id over 65535.",
        level=Level.ERROR,
        why="A rootless Podman cannot unpack it: the id is outside of the range that its user may map.",
        example="RUN chown -R 1000000 /app    # or a tar with such an owner, unpacked by ADD",
        fix="chown it to an id below 65536; tar -x --no-same-owner, npm install --no-same-owner",
        settings=OwnerSettings,
        watch=_LargeOwner,
    ),
    Rule(
        id="RB218",
        name="no-user",
        title="A Containerfile has no USER.",
        level=Level.WARNING,
        why="Who the image runs as is then the base's choice, and most bases choose root. RB201 tells once "
        "the image is built; this tells before.",
        example='FROM python:3.11-slim\nCOPY app.py /app/\nCMD ["python3", "/app/app.py"]',
        fix="end with USER 10001:10001, even where the base has a user of its own",
        files=_no_user,
    ),
)
